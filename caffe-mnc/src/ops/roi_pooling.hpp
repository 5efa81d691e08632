// RoI pooling: the pixels of one bin along an axis, and which bins hand a pixel gradient.
#pragma once

#include "common.hpp"

namespace region {

struct Bin { int start, end; };     // [start, end) of the map; empty if start >= end

template <typename T> REGION_FN T bin_size(T first, T last, int bins) {
  return greatest(last - first + T(1), T(1)) / T(bins);
}

template <typename T> REGION_FN Bin pooling_bin(T first, T last, int bins, int size, int k) {
  const T each = bin_size(first, last, bins);
  const T start = floor(T(k) * each) + first, end = ceil(T(k + 1) * each) + first;
  if (!(start < end)) return {0, 0};      // NaN: from a RoI that is not finite
  return {to_index(start, size), to_index(end, size)};
}

// Whether bin k is among those that the pixel, by its place between the corners, falls in.
template <typename T> REGION_FN bool points_at(int pixel, T first, T last, int bins, int k) {
  const T each = bin_size(first, last, bins), offset = T(pixel) - first;
  return offset >= T(0) && T(pixel) <= last && T(k) >= floor(offset / each) &&
         T(k) < ceil((offset + T(1)) / each);
}

}  // namespace region
