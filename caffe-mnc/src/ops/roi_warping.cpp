// RoI warping on the CPU. A sample reads four pixels, that is four rows of channels.
#include <vector>

#include "cpu.hpp"
#include "roi_warping.hpp"

namespace region {
namespace {

template <typename T> using Samples = std::vector<AxisSample<T>>;

// A map (H, W, C) of one image: to read, or to write.
template <typename Row> struct Image {
  Row* first;
  int64_t width, channels;

  template <typename T>
  REGION_INLINE Row* row(const AxisSample<T>& y, const AxisSample<T>& x, int a, int b) const {
    return first + (y.pixel[a] * width + x.pixel[b]) * channels;
  }
};

// The sample points of RoI r, and where its image is.
template <typename T> struct Grid {
  const Map& map;
  int64_t image;
  Samples<T> y, x;

  Grid(const void* rois, int64_t r, const Map& map, const Pooling& pooling, int mode)
      : map(map), y(pooling.height), x(pooling.width) {
    const T* roi = static_cast<const T*>(rois) + 5 * r;
    image = to_index(roi[0], int(map.images) - 1);
    const Corners<T> c = warp_corners(roi, T(pooling.scale), mode);
    for (int k = 0; k < int(y.size()); ++k)
      y[k] = warp_sample(c.y1, c.y2, int(y.size()), int(map.height), k, mode);
    for (int k = 0; k < int(x.size()); ++k)
      x[k] = warp_sample(c.x1, c.x2, int(x.size()), int(map.width), k, mode);
  }

  template <typename Row> Image<Row> image_of(Row* maps) const {
    return {maps + image * map.height * map.width * map.channels, map.width, map.channels};
  }
};

// The four pixels of a sample, stored as S, and their weights in the forward pass.
template <typename S, typename T> struct Blend {
  const S* row[4];
  T weight[4];

  REGION_INLINE Blend(const Image<const S>& image, const AxisSample<T>& y, const AxisSample<T>& x) {
    for (int i = 0; i < 4; ++i) {
      row[i] = image.row(y, x, i / 2, i % 2);
      weight[i] = y.weight[i / 2] * x.weight[i % 2];
    }
  }

  REGION_INLINE T operator()(int64_t c) const {     // in the order of the reference, from +0
    return T(0) + loaded(row[0][c]) * weight[0] + loaded(row[1][c]) * weight[1] +
           loaded(row[2][c]) * weight[2] + loaded(row[3][c]) * weight[3];
  }
};

// --- one line of samples: all x at one y. Compiled for several instruction sets.

template <typename S, typename T>
REGION_CLONES void warp_line(Image<const S> image, const AxisSample<T>& y, const Samples<T>& x,
                             S* REGION_RESTRICT to) {
  for (size_t q = 0; q < x.size(); ++q, to += image.channels) {
    const Blend<S, T> blend(image, y, x[q]);
    for (int64_t c = 0; c < image.channels; ++c) store(blend(c), to[c]);
  }
}

// Two lines of samples -> the maxima over 2 x 2; NaN is the greatest.
template <typename S, typename T>
REGION_CLONES void pooled_line(Image<const S> image, const AxisSample<T>& y0,
                               const AxisSample<T>& y1, const Samples<T>& x,
                               S* REGION_RESTRICT to) {
  for (size_t q = 0; q + 1 < x.size(); q += 2, to += image.channels) {
    const Blend<S, T> blends[4] = {{image, y0, x[q]}, {image, y0, x[q + 1]},
                                   {image, y1, x[q]}, {image, y1, x[q + 1]}};
    for (int64_t c = 0; c < image.channels; ++c) {
      T best = blends[0](c);
      for (int i = 1; i < 4; ++i) {
        const T value = blends[i](c);
        best = value > best || value != value ? value : best;
      }
      store(best, to[c]);
    }
  }
}

// Hands grad to the pixels of `image`; both start at the first of the `slice` channels that count.
template <typename T>
REGION_CLONES void spread_line(const T* REGION_RESTRICT grad, const AxisSample<T>& y,
                               const Samples<T>& x, Image<T> image, int64_t slice) {
  for (size_t q = 0; q < x.size(); ++q, grad += image.channels)
    for (int i = 0; i < 4; ++i) {
      const T weight = y.adjoint[i / 2] * x[q].adjoint[i % 2];
      if (weight == T(0)) continue;
      T* REGION_RESTRICT to = image.row(y, x[q], i / 2, i % 2);
      for (int64_t c = 0; c < slice; ++c) to[c] += grad[c] * weight;
    }
}

// Adds to the gradient of the corners (x1, y1, x2, y2): each has its share of a sample's motion.
template <typename T>
REGION_CLONES void slope_line(const T* grad, Image<const T> image, const AxisSample<T>& y,
                              const Samples<T>& x, double* corners) {
  for (size_t q = 0; q < x.size(); ++q, grad += image.channels) {
    T dx = 0, dy = 0;
    for (int i = 0; i < 4; ++i) {
      const int a = i / 2, b = i % 2;
      const T by_x = y.value[a] * x[q].slope[b], by_y = y.slope[a] * x[q].value[b];
      if (by_x == T(0) && by_y == T(0)) continue;
      const T taken = dot(image.row(y, x[q], a, b), grad, image.channels);
      dx += by_x * taken;
      dy += by_y * taken;
    }
    corners[0] += (T(1) - x[q].share) * dx;
    corners[1] += (T(1) - y.share) * dy;
    corners[2] += x[q].share * dx;
    corners[3] += y.share * dy;
  }
}

}  // namespace

void roi_warping(Storage storage, const void* features, const void* rois, void* top, Map map,
                 Pooling pooling, int mode, int threads) {
  in_storage(storage, [&](auto stored, auto zero) {
    using S = decltype(stored);
    using T = decltype(zero);
    const int64_t line = pooling.width * map.channels;
#pragma omp parallel for num_threads(threads)
    for (int64_t r = 0; r < pooling.rois; ++r) {
      const Grid<T> grid(rois, r, map, pooling, mode);
      const auto image = grid.image_of(static_cast<const S*>(features));
      S* to = static_cast<S*>(top) + r * pooling.height * line;
      for (int64_t p = 0; p < pooling.height; ++p)
        warp_line(image, grid.y[p], grid.x, to + p * line);
    }
  });
}

void roi_warping_pooled(Storage storage, const void* features, const void* rois, void* top, Map map,
                        Pooling pooling, int mode, int threads) {
  const Pooling doubled = {pooling.rois, 2 * pooling.height, 2 * pooling.width, pooling.scale};
  in_storage(storage, [&](auto stored, auto zero) {
    using S = decltype(stored);
    using T = decltype(zero);
    const int64_t line = pooling.width * map.channels;
#pragma omp parallel for num_threads(threads)
    for (int64_t r = 0; r < pooling.rois; ++r) {
      const Grid<T> grid(rois, r, map, doubled, mode);
      const auto image = grid.image_of(static_cast<const S*>(features));
      S* to = static_cast<S*>(top) + r * pooling.height * line;
      for (int64_t p = 0; p < pooling.height; ++p)
        pooled_line(image, grid.y[2 * p], grid.y[2 * p + 1], grid.x, to + p * line);
    }
  });
}

// Each thread has channels of its own, so every sum has one order whatever their number.
void roi_warping_backward_features(bool wide, const void* grad, const void* rois, void* d_features,
                                   Map map, Pooling pooling, int mode, int threads) {
  const int64_t pixels = map.images * map.height * map.width;
  const int64_t step = channels_each(map.channels, threads);
  in_precision(wide, [&](auto zero) {
    using T = decltype(zero);
    const int64_t line = pooling.width * map.channels;
#pragma omp parallel for num_threads(threads)
    for (int64_t first = 0; first < map.channels; first += step) {
      const int64_t count = std::min(step, map.channels - first);
      const T* from = static_cast<const T*>(grad) + first;
      T* to = static_cast<T*>(d_features) + first;
      for (int64_t i = 0; i < pixels; ++i) std::fill_n(to + i * map.channels, count, T(0));
      for (int64_t r = 0; r < pooling.rois; ++r) {
        const Grid<T> grid(rois, r, map, pooling, mode);
        const auto image = grid.image_of(to);
        for (int64_t p = 0; p < pooling.height; ++p)
          spread_line(from + (r * pooling.height + p) * line, grid.y[p], grid.x, image, count);
      }
    }
  });
}

void roi_warping_backward_rois(bool wide, const void* grad, const void* features, const void* rois,
                               void* d_rois, Map map, Pooling pooling, int mode, int threads) {
  in_precision(wide, [&](auto zero) {
    using T = decltype(zero);
    const int64_t line = pooling.width * map.channels;
#pragma omp parallel for num_threads(threads)
    for (int64_t r = 0; r < pooling.rois; ++r) {
      const Grid<T> grid(rois, r, map, pooling, mode);
      const auto image = grid.image_of(static_cast<const T*>(features));
      const T* from = static_cast<const T*>(grad) + r * pooling.height * line;
      double corners[4] = {};
      for (int64_t p = 0; p < pooling.height; ++p)
        slope_line(from + p * line, image, grid.y[p], grid.x, corners);
      T* to = static_cast<T*>(d_rois) + 5 * r;
      to[0] = 0;
      for (int i = 0; i < 4; ++i) to[1 + i] = T(corners[i] * pooling.scale);
    }
  });
}

}  // namespace region
