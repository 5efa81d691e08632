// The gradient of a map that RoIs were pooled from, as a gather: every pixel of the map sums what
// the bins hand it, RoI by RoI and bin by bin, so the order of the sum is always the same.
//
// Grid: a block a pixel along x, as many channels as it has threads along y. The threads first
// share the search for the bins that reach the pixel, a RoI each; then each sums its own channel.
#pragma once

#include "gpu.hpp"

namespace region {

struct Bins { int first, end; };        // [first, end)
struct Reach { Bins rows, columns; };

// From the first to the last bin of an axis for which `heard` holds.
template <typename Heard> __device__ Bins bins_from_to(int bins, Heard heard) {
  Bins found = {0, 0};
  for (int k = 0; k < bins; ++k) {
    if (!heard(k)) continue;
    if (found.end == 0) found.first = k;
    found.end = k + 1;
  }
  return found;
}

struct Pixel { Index image; int y, x; };

// What a Rule has: map, pooling, rois; corners(roi), on the map; along_y(corners, p, y) and
// along_x(corners, q, x), the weight of a bin for a pixel in one axis (0: not heard); given(bin,
// channel, pixel), the gradient that it hands on, bins counted through all RoIs.
template <typename Rule> __device__ Reach reach(const Rule& rule, Index r, Pixel pixel) {
  const Real* roi = rule.rois + 5 * r;
  if (image_of(roi, rule.map.images) != pixel.image) return {{0, 0}, {0, 0}};
  const Corners<Real> c = rule.corners(roi);
  const Bins rows = bins_from_to(rule.pooling.height, [&](int p) {
    return rule.along_y(c, p, pixel.y) != Real(0);
  });
  if (rows.end == 0) return {rows, rows};
  return {rows, bins_from_to(rule.pooling.width, [&](int q) {
            return rule.along_x(c, q, pixel.x) != Real(0);
          })};
}

template <typename Rule>
__device__ Real heard_from(const Rule& rule, Index r, Reach bins, Pixel pixel, Index channel) {
  const Corners<Real> c = rule.corners(rule.rois + 5 * r);
  const Pooling& pooling = rule.pooling;
  Real sum = 0;
  for (int p = bins.rows.first; p < bins.rows.end; ++p) {
    const Real row = rule.along_y(c, p, pixel.y);
    for (int q = bins.columns.first; q < bins.columns.end; ++q) {
      const Index bin = (r * pooling.height + p) * pooling.width + q;
      sum += rule.given(bin, channel, pixel) * (row * rule.along_x(c, q, pixel.x));
    }
  }
  return sum;
}

template <typename Rule> __device__ void gather(const Rule& rule, Real* d_features) {
  __shared__ Reach reached[THREADS];
  const Map& map = rule.map;
  const Index pixels = map.images * map.height * map.width;
  for (Index n = blockIdx.x; n < pixels; n += gridDim.x) {
    const Index row = n / map.width;
    const Pixel pixel = {row / map.height, int(row % map.height), int(n % map.width)};
    for (Index chunk = Index(blockIdx.y) * blockDim.x; chunk < map.channels;
         chunk += Index(gridDim.y) * blockDim.x) {
      const Index channel = chunk + threadIdx.x;
      Real sum = 0;
      for (Index start = 0; start < rule.pooling.rois; start += blockDim.x) {
        const int many = int(least<Index>(blockDim.x, rule.pooling.rois - start));
        __syncthreads();        // what was reached has been read
        if (int(threadIdx.x) < many) reached[threadIdx.x] = reach(rule, start + threadIdx.x, pixel);
        __syncthreads();
        if (channel >= map.channels) continue;
        for (int i = 0; i < many; ++i)
          sum += heard_from(rule, start + i, reached[i], pixel, channel);
      }
      if (channel < map.channels) d_features[n * map.channels + channel] = sum;
    }
  }
}

}  // namespace region
