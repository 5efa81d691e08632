// Non-maximum suppression on the CPU: block by block, best first, against all that were kept.
#include <vector>

#include "boxes.hpp"
#include "cpu.hpp"

namespace region {
namespace {

constexpr int64_t BLOCK = 256;      // boxes that are compared with the earlier ones in parallel
constexpr int64_t STRIP = 64;       // kept boxes between two looks whether one has been too near

// The kept boxes, an array a coordinate, so that one box meets many of them at a time.
template <typename T> struct Columns {
  const T *x1, *y1, *x2, *y2;
};

template <typename T>
REGION_CLONES bool near_any(const T* box, Columns<T> kept, int64_t first, int64_t last, T thresh,
                            bool inclusive) {
  for (; first < last; first += STRIP) {
    const int64_t end = std::min(first + STRIP, last);
    int hits = 0;
    for (int64_t k = first; k < end; ++k) {
      const T other[4] = {kept.x1[k], kept.y1[k], kept.x2[k], kept.y2[k]}, found = iou(box, other);
      hits |= inclusive ? found >= thresh : found > thresh;
    }
    if (hits) return true;
  }
  return false;
}

template <typename T> int64_t suppress(const T* boxes, int64_t count, T thresh, bool inclusive,
                                       int64_t limit, int64_t* kept, int threads) {
  std::vector<T> table(4 * limit);
  T* columns[4] = {&table[0], &table[limit], &table[2 * limit], &table[3 * limit]};
  const Columns<T> seen = {columns[0], columns[1], columns[2], columns[3]};
  bool dropped[BLOCK];
  int64_t found = 0;
  for (int64_t start = 0; start < count && found < limit; start += BLOCK) {
    const int64_t end = std::min(start + BLOCK, count), before = found;
#pragma omp parallel for num_threads(threads)
    for (int64_t i = start; i < end; ++i)
      dropped[i - start] = near_any(boxes + 4 * i, seen, 0, before, thresh, inclusive);
    for (int64_t i = start; i < end && found < limit; ++i) {
      if (dropped[i - start] || near_any(boxes + 4 * i, seen, before, found, thresh, inclusive))
        continue;
      for (int c = 0; c < 4; ++c) columns[c][found] = boxes[4 * i + c];
      kept[found++] = i;
    }
  }
  return found;
}

}  // namespace

int64_t nms(bool wide, const void* boxes, int64_t count, double thresh, bool inclusive,
            int64_t limit, int64_t* kept, int threads) {
  if (count == 0) return 0;
  if (limit <= 0 || limit > count) limit = count;
  int64_t found = 0;
  in_precision(wide, [&](auto zero) {
    using T = decltype(zero);
    found = suppress(static_cast<const T*>(boxes), count, T(thresh), inclusive, limit, kept,
                     threads);
  });
  return found;
}

}  // namespace region
