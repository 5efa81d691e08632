// What the .cpp and the .cu of the layers share: planes (H, W) of blobs (N, C, H, W).
#pragma once

#include <cfloat>

#include "roi_pooling.hpp"

namespace region {

// Features and the pooled RoIs made of them; scale turns image pixels into pixels of the map.
template <typename T> struct RoiGrid {
  int images, channels, height, width;
  int rois, pooled_h, pooled_w;
  T scale;
};

// Sum of the four pixels that a sample reads, each with the product of its weights.
template <typename T> REGION_FN T sample_plane(const T* plane, int width, const int* y,
                                               const T* y_weight, const int* x,
                                               const T* x_weight) {
  T sum = 0;
  for (int a = 0; a < 2; ++a)
    for (int b = 0; b < 2; ++b)
      sum += plane[y[a] * width + x[b]] * (y_weight[a] * x_weight[b]);
  return sum;
}

// The adjoint: a sample's gradient handed to the four pixels it reads.
template <typename T> inline void add_to_plane(T* plane, int width, T grad, const int* y,
                                               const T* y_weight, const int* x,
                                               const T* x_weight) {
  for (int a = 0; a < 2; ++a)
    for (int b = 0; b < 2; ++b)
      plane[y[a] * width + x[b]] += grad * (y_weight[a] * x_weight[b]);
}

// The weight of the gradient that a sample hands to this pixel of its axis.
template <typename T, typename Sample> REGION_FN T adjoint_at(const Sample& sample, int pixel) {
  T weight = 0;
  for (int a = 0; a < 2; ++a)
    if (sample.pixel[a] == pixel) weight += sample.adjoint[a];
  return weight;
}

template <typename T> struct Peak {
  T value;
  int pixel;        // h * W + w of the maximum, the first of equal ones; -1 in an empty bin
};

REGION_FN float lowest(float) { return -FLT_MAX; }
REGION_FN double lowest(double) { return -DBL_MAX; }

template <typename T> REGION_FN Peak<T> peak_of(const T* plane, int width, Bin y, Bin x) {
  Peak<T> peak = {lowest(T()), -1};
  for (int h = y.start; h < y.end; ++h)
    for (int w = x.start; w < x.end; ++w)
      if (plane[h * width + w] > peak.value) peak = {plane[h * width + w], h * width + w};
  if (peak.pixel < 0) peak.value = 0;
  return peak;
}

struct Span { int start, end; };        // [start, end)

// The bins that points_at may name for a pixel inside the RoI.
template <typename T> REGION_FN Span bins_near(int pixel, T first, T last, int bins) {
  const T each = bin_size(first, last, bins), offset = T(pixel) - first;
  return {to_index(floor(offset / each), bins), to_index(ceil((offset + T(1)) / each), bins)};
}

// All samples first + k * step, 0 <= k < count, less than a pixel away from this one (and maybe
// some more: rounding must not lose any).
template <typename T> REGION_FN Span samples_near(int pixel, T first, T step, int count) {
  if (!(step > T(0))) return {0, count};      // all on one point
  return {to_index(floor((T(pixel - 1) - first) / step), count),
          to_index(ceil((T(pixel + 1) - first) / step) + T(1), count)};
}

}  // namespace region
