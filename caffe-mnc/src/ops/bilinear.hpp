// Bilinear sampling along one axis: a point reads a low and a high pixel, both inside the map.
#pragma once

#include "common.hpp"

namespace region {

template <typename T> struct Taps {
  int pixel[2];
  T weight[2];
};

// The border pixel reaches half a pixel out; beyond, the weights are 0 (and so for NaN).
template <typename T> REGION_FN bool inside_border(T point, int size) {
  return point >= T(-0.5) && point <= T(size) - T(0.5);
}

template <typename T> REGION_FN Taps<T> clamped_taps(T point, int size) {
  if (!inside_border(point, size)) return {{0, size > 1 ? 1 : 0}, {T(0), T(0)}};
  point = greatest(point, T(0));
  const int low = to_index(point, size - 1), high = low + 1 < size ? low + 1 : low;
  const T fraction = low + 1 < size ? point - T(low) : T(0);
  return {{low, high}, {T(1) - fraction, fraction}};
}

// The map is 0 outside: weight max(0, 1 - |point - pixel|) for the pixels of the map.
template <typename T> REGION_FN Taps<T> zero_padded_taps(T point, int size) {
  const T low = floor(point), fraction = point - low;
  const bool has_low = low >= T(0) && low <= T(size - 1);
  const bool has_high = low >= T(-1) && low <= T(size - 2);
  return {{has_low ? int(low) : 0, has_high ? int(low) + 1 : 0},
          {has_low ? T(1) - fraction : T(0), has_high ? fraction : T(0)}};
}

}  // namespace region
