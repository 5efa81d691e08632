// Intersection over union on the CPU, each with each: of boxes, and of masks cropped to boxes.
#include <vector>

#include "boxes.hpp"
#include "cpu.hpp"

namespace region {
namespace {

// The boxes that each row is compared with, an array a coordinate.
template <typename T> struct Columns {
  const T *x1, *y1, *x2, *y2;
};

template <typename T>
REGION_CLONES void overlaps_with(const T* box, Columns<T> query, T* REGION_RESTRICT row,
                                 int64_t k) {
  for (int64_t j = 0; j < k; ++j) {
    const T other[4] = {query.x1[j], query.y1[j], query.x2[j], query.y2[j]};
    row[j] = iou_or_zero(box, other);
  }
}

REGION_CLONES int64_t count_set(const uint8_t* bytes, int64_t count) {
  int64_t set = 0;
  for (int64_t i = 0; i < count; ++i) set += bytes[i] != 0;
  return set;
}

REGION_CLONES int64_t count_both(const uint8_t* a, const uint8_t* b, int64_t count) {
  int64_t set = 0;
  for (int64_t i = 0; i < count; ++i) set += (a[i] != 0) & (b[i] != 0);
  return set;
}

struct Mask {
  const int64_t* box;
  const uint8_t* bytes;     // of the box, row by row
  int64_t set;

  int64_t width() const { return box[2] - box[0] + 1; }
  const uint8_t* at(int64_t x, int64_t y) const {
    return bytes + (y - box[1]) * width() + x - box[0];
  }
};

std::vector<Mask> all_masks(const int64_t* boxes, const uint8_t* masks, const int64_t* offsets,
                            int64_t count, int threads) {
  std::vector<Mask> found(count);
#pragma omp parallel for num_threads(threads)
  for (int64_t i = 0; i < count; ++i) {
    const int64_t* box = boxes + 4 * i;
    const bool inverted = box[2] < box[0] || box[3] < box[1];
    const int64_t pixels = inverted ? 0 : (box[2] - box[0] + 1) * (box[3] - box[1] + 1);
    found[i] = {box, masks + offsets[i], count_set(masks + offsets[i], pixels)};
  }
  return found;
}

double overlap(const Mask& a, const Mask& b) {
  const int64_t x1 = std::max(a.box[0], b.box[0]), x2 = std::min(a.box[2], b.box[2]);
  const int64_t y1 = std::max(a.box[1], b.box[1]), y2 = std::min(a.box[3], b.box[3]);
  if (x1 > x2) return 0;
  int64_t both = 0;
  for (int64_t y = y1; y <= y2; ++y) both += count_both(a.at(x1, y), b.at(x1, y), x2 - x1 + 1);
  return both ? double(both) / double(a.set + b.set - both) : 0;
}

}  // namespace

void box_overlaps(bool wide, const void* boxes, const void* query, void* result, int64_t n,
                  int64_t k, int threads) {
  in_precision(wide, [&](auto zero) {
    using T = decltype(zero);
    const T *from = static_cast<const T*>(boxes), *with = static_cast<const T*>(query);
    T* to = static_cast<T*>(result);
    std::vector<T> table(4 * k);
    for (int64_t j = 0; j < k; ++j)
      for (int c = 0; c < 4; ++c) table[c * k + j] = with[4 * j + c];
    const T* columns = table.data();
    const Columns<T> all = {columns, columns + k, columns + 2 * k, columns + 3 * k};
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < n; ++i) overlaps_with(from + 4 * i, all, to + i * k, k);
  });
}

void mask_overlaps(const int64_t* boxes, const uint8_t* masks, const int64_t* offsets,
                   const int64_t* query, const uint8_t* query_masks, const int64_t* query_offsets,
                   double* result, int64_t n, int64_t k, int threads) {
  const std::vector<Mask> all = all_masks(boxes, masks, offsets, n, threads);
  const std::vector<Mask> others = all_masks(query, query_masks, query_offsets, k, threads);
#pragma omp parallel for num_threads(threads) schedule(dynamic)
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < k; ++j) result[i * k + j] = overlap(all[i], others[j]);
}

}  // namespace region
