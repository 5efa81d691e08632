// Boxes (x1, y1, x2, y2), inclusive: width = x2 - x1 + 1.
#pragma once

#include "common.hpp"

namespace region {

template <typename T> REGION_FN T area(const T* box) {
  return (box[2] - box[0] + T(1)) * (box[3] - box[1] + T(1));
}

template <typename T> REGION_FN T intersection(const T* a, const T* b) {
  const T width = least(a[2], b[2]) - greatest(a[0], b[0]) + T(1);
  const T height = least(a[3], b[3]) - greatest(a[1], b[1]) + T(1);
  return greatest(width, T(0)) * greatest(height, T(0));
}

// Intersection over union; NaN where the union is 0 and where a coordinate is NaN.
template <typename T> REGION_FN T iou(const T* a, const T* b) {
  const T both = intersection(a, b);
  return both / (area(a) + area(b) - both);
}

// The same, but 0 for NaN.
template <typename T> REGION_FN T iou_or_zero(const T* a, const T* b) {
  return greatest(T(0), iou(a, b));
}

}  // namespace region
