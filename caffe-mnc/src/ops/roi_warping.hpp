// RoI warping: one sample point k of an axis, with all that the forward pass and both gradients
// weigh it by. The formulas are those of caffe/ops/roi_warping.py, which explains them.
#pragma once

#include "bilinear.hpp"

namespace region {

template <typename T> struct AxisSample {
  int pixel[2];     // low and high pixel of the map, always inside it
  T weight[2];      // forward
  T adjoint[2];     // gradient of the features
  T value[2];       // gradient of the coordinates: interpolation along this axis,
  T slope[2];       // and derivative along this axis
  T share;          // part of the sample's motion due to the last corner of the RoI
};

template <typename T> REGION_FN AxisSample<T> reference_sample(T first, T last, int bins, int size,
                                                               int k) {
  const T point = first + T(k) * (greatest(last - first, T(0)) / T(bins));
  const Taps<T> taps = clamped_taps(point, size);
  const T wide = greatest(last - first + T(1), T(1)) / T(bins);   // bins of the gradients are wider
  const bool smooth = inside_border(point, size) && taps.pixel[0] + 1 <= size - 1;
  AxisSample<T> s;
  for (int a = 0; a < 2; ++a) {
    const T pixel = T(taps.pixel[a]);
    const bool near = T(k) >= floor((pixel - first - T(1)) / wide - T(1)) &&
                      T(k) < ceil((pixel - first + T(1)) / wide) && pixel >= first && pixel <= last;
    s.pixel[a] = taps.pixel[a];
    s.weight[a] = taps.weight[a];
    s.adjoint[a] = near ? taps.weight[a] : T(0);
    s.value[a] = smooth ? taps.weight[a] : T(0);
    s.slope[a] = smooth ? T(2 * a - 1) : T(0);
  }
  s.share = smooth ? (greatest(point, T(0)) - first) / wide / T(bins) : T(0);
  return s;
}

template <typename T> REGION_FN AxisSample<T> exact_sample(T first, T last, int bins, int size,
                                                           int k) {
  const T point = first + greatest(last - first, T(0)) * T(k) / T(bins);
  const Taps<T> taps = zero_padded_taps(point, size);
  const T low = floor(point);
  const bool in_map[2] = {low >= T(0) && low <= T(size - 1), low >= T(-1) && low <= T(size - 2)};
  AxisSample<T> s;
  for (int a = 0; a < 2; ++a) {
    s.pixel[a] = taps.pixel[a];
    s.weight[a] = s.adjoint[a] = s.value[a] = taps.weight[a];
    s.slope[a] = in_map[a] ? T(2 * a - 1) : T(0);
  }
  s.share = last >= first ? T(k) / T(bins) : T(0);      // an inverted RoI is a point at `first`
  return s;
}

template <typename T> REGION_FN Corners<T> warp_corners(const T* roi, T scale, int mode) {
  return mode == EXACT ? scaled_corners(roi, scale) : rounded_corners(roi, scale);
}

template <typename T> REGION_FN AxisSample<T> warp_sample(T first, T last, int bins, int size,
                                                          int k, int mode) {
  return mode == EXACT ? exact_sample(first, last, bins, size, k)
                       : reference_sample(first, last, bins, size, k);
}

}  // namespace region
