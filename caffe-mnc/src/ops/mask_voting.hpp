// Mask voting: drawing a mask into its box on the image, and reading it back.
#pragma once

#include "common.hpp"

namespace region {

// Bilinear, corner aligned at 0; a point whose lower pixel is the last of EITHER axis takes that
// pixel's value without interpolation.
template <typename T> REGION_FN T sample_votes(const T* image, int height, int width, T y, T x) {
  const T top = floor(y), left = floor(x);
  const int i = to_index(top, height - 1), j = to_index(left, width - 1);
  if (top >= T(height - 1) || left >= T(width - 1)) return image[i * width + j];
  const T dy = y - top, dx = x - left;
  const T* above = image + i * width + j;
  const T* below = above + (i + 1 < height ? width : 0);
  const int right = j + 1 < width ? 1 : 0;
  return (T(1) - dy) * (T(1) - dx) * above[0] + (T(1) - dy) * dx * above[right] +
         dy * (T(1) - dx) * below[0] + dy * dx * below[right];
}

// Where pixel `pixel` of the image lies on a mask of `side` samples drawn between two corners.
template <typename T> REGION_FN T place_on_mask(int pixel, T first, T last, int side) {
  return (T(pixel) - first) * T(side) / (last - first + T(1));
}

}  // namespace region
