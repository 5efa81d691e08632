// Mask voting: drawing a mask into its box on the image, and reading it back.
#pragma once

#include "common.hpp"

namespace region {

struct Pixels { int start, end; };      // [start, end)

// The whole numbers of [0, size) between two floats, ends included; none where one is NaN.
template <typename T> REGION_FN Pixels covered_pixels(T first, T last, int size) {
  if (!(first <= last)) return {0, 0};
  return {to_index(ceil(first), size), to_index(floor(last) + T(1), size)};
}

// Where pixel `pixel` of the image lies on a mask of `side` samples drawn between two corners.
template <typename T> REGION_FN T place_on_mask(int pixel, T first, T last, int side) {
  return (T(pixel) - first) * T(side) / (last - first + T(1));
}

// Where sample k of a mask of `side` samples, read between two corners, lies on the image.
template <typename T> REGION_FN T place_on_image(int k, T first, T last, int side) {
  return first + T(k) * (last - first + T(1)) / T(side);
}

// A point of one axis: the pixels below and above it, how far from the lower one, and whether that
// is the last.
template <typename T> struct VotePoint {
  int low, high;
  T fraction;
  bool at_end;
};

template <typename T> REGION_FN VotePoint<T> vote_point(T point, int size) {
  const T whole = floor(point);
  const int low = to_index(whole, size - 1);
  return {low, low + 1 < size ? low + 1 : low, point - whole, whole >= T(size - 1)};
}

template <typename T> REGION_FN T blend_votes(T dy, T dx, T above_left, T above_right,
                                              T below_left, T below_right) {
  return (T(1) - dy) * (T(1) - dx) * above_left + (T(1) - dy) * dx * above_right +
         dy * (T(1) - dx) * below_left + dy * dx * below_right;
}

// Bilinear, corner aligned at 0; a point whose lower pixel is the last of EITHER axis takes that
// pixel's value without interpolation.
template <typename T> REGION_FN T sample_votes(const T* image, int height, int width, T y, T x) {
  const VotePoint<T> i = vote_point(y, height), j = vote_point(x, width);
  const T* above = image + static_cast<long long>(i.low) * width;
  const T* below = image + static_cast<long long>(i.high) * width;
  if (i.at_end || j.at_end) return above[j.low];
  return blend_votes(i.fraction, j.fraction, above[j.low], above[j.high], below[j.low],
                     below[j.high]);
}

}  // namespace region
