// RoI pooling on the CPU: the greatest of the rows of channels in a bin, channel by channel.
#include <limits>
#include <vector>

#include "cpu.hpp"
#include "roi_pooling.hpp"

namespace region {
namespace {

// The bins of RoI r along both axes, and the first pixel of its image.
template <typename T> struct Bins {
  Corners<T> corners;
  int64_t image;
  std::vector<Bin> y, x;

  Bins(const void* rois, int64_t r, const Map& map, const Pooling& pooling)
      : y(pooling.height), x(pooling.width) {
    const T* roi = static_cast<const T*>(rois) + 5 * r;
    corners = rounded_corners(roi, T(pooling.scale));
    image = to_index(roi[0], int(map.images) - 1) * map.height * map.width;
    for (int k = 0; k < int(y.size()); ++k)
      y[k] = pooling_bin(corners.y1, corners.y2, int(y.size()), int(map.height), k);
    for (int k = 0; k < int(x.size()); ++k)
      x[k] = pooling_bin(corners.x1, corners.x2, int(x.size()), int(map.width), k);
  }
};

// --- one bin. Compiled for several instruction sets.

// Of a map stored as S; the maximum is one of its values, so it is stored without rounding.
template <typename S>
REGION_CLONES void pool_bin(const S* image, Bin y, Bin x, int width, int64_t channels,
                            S* REGION_RESTRICT top, int32_t* REGION_RESTRICT where) {
  using T = decltype(loaded(S()));
  for (int64_t c = 0; c < channels; ++c) store(std::numeric_limits<T>::lowest(), top[c]);
  std::fill_n(where, channels, -1);
  for (int h = y.start; h < y.end; ++h)
    for (int w = x.start; w < x.end; ++w) {
      const int pixel = h * width + w;
      const S* row = image + pixel * channels;
      for (int64_t c = 0; c < channels; ++c) {
        const T value = loaded(row[c]), best = loaded(top[c]);
        const int32_t keep = int32_t(value > best) - 1;     // all bits or none: GCC would make a
        store(value > best ? value : best, top[c]);         // branch of a second `? :`
        where[c] = (where[c] & keep) | (pixel & ~keep);
      }
    }
  for (int64_t c = 0; c < channels; ++c)
    store(where[c] < 0 ? T(0) : loaded(top[c]), top[c]);
}

// Bin (p, q) hands its gradient to the pixels that are its maxima and, by their place, point at it.
// grad, where and image start at the first channel of a slice.
template <typename T>
REGION_CLONES void spread_bin(const T* grad, const int32_t* where, const Bins<T>& bins, int p,
                              int q, const Map& map, int64_t slice, T* REGION_RESTRICT image) {
  const Corners<T>& at = bins.corners;
  for (int h = bins.y[p].start; h < bins.y[p].end; ++h) {
    if (!points_at(h, at.y1, at.y2, int(bins.y.size()), p)) continue;
    for (int w = bins.x[q].start; w < bins.x[q].end; ++w) {
      if (!points_at(w, at.x1, at.x2, int(bins.x.size()), q)) continue;
      const int32_t pixel = h * int32_t(map.width) + w;
      T* to = image + pixel * map.channels;
      for (int64_t c = 0; c < slice; ++c) to[c] += where[c] == pixel ? grad[c] : T(0);
    }
  }
}

}  // namespace

void roi_pooling(Storage storage, const void* features, const void* rois, void* top, int32_t* where,
                 Map map, Pooling pooling, int threads) {
  in_storage(storage, [&](auto stored, auto zero) {
    using S = decltype(stored);
    using T = decltype(zero);
#pragma omp parallel for num_threads(threads)
    for (int64_t r = 0; r < pooling.rois; ++r) {
      const Bins<T> bins(rois, r, map, pooling);
      const S* image = static_cast<const S*>(features) + bins.image * map.channels;
      int64_t to = r * pooling.height * pooling.width * map.channels;
      for (const Bin& y : bins.y)
        for (const Bin& x : bins.x) {
          pool_bin(image, y, x, int(map.width), map.channels, static_cast<S*>(top) + to,
                   where + to);
          to += map.channels;
        }
    }
  });
}

// Each thread has channels of its own, so every sum has one order whatever their number.
void roi_pooling_backward(bool wide, const void* grad, const int32_t* where, const void* rois,
                          void* d_features, Map map, Pooling pooling, int threads) {
  const int64_t pixels = map.images * map.height * map.width;
  const int64_t step = channels_each(map.channels, threads);
  in_precision(wide, [&](auto zero) {
    using T = decltype(zero);
#pragma omp parallel for num_threads(threads)
    for (int64_t first = 0; first < map.channels; first += step) {
      const int64_t count = std::min(step, map.channels - first);
      T* to = static_cast<T*>(d_features) + first;
      for (int64_t i = 0; i < pixels; ++i) std::fill_n(to + i * map.channels, count, T(0));
      int64_t from = first;
      for (int64_t r = 0; r < pooling.rois; ++r) {
        const Bins<T> bins(rois, r, map, pooling);
        T* image = to + bins.image * map.channels;
        for (int p = 0; p < int(pooling.height); ++p)
          for (int q = 0; q < int(pooling.width); ++q, from += map.channels)
            spread_bin(static_cast<const T*>(grad) + from, where + from, bins, p, q, map, count,
                       image);
      }
    }
  });
}

}  // namespace region
