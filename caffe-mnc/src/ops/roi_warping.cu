// RoI warping on the GPU.
#include "roi_gather.hpp"
#include "roi_warping.hpp"

namespace region {
namespace {

struct Sample {
  Index image;              // -1: the RoI names none
  AxisSample<Real> y, x;
};

// Sample n of those that all RoIs have on grids of (height, width) points.
__device__ Sample sample_of(const Real* rois, Index r, int p, int q, int height, int width,
                            Real scale, const Map& map, int mode) {
  const Real* roi = rois + 5 * r;
  const Corners<Real> c = warp_corners(roi, scale, mode);
  return {image_of(roi, map.images), warp_sample(c.y1, c.y2, height, map.height, p, mode),
          warp_sample(c.x1, c.x2, width, map.width, q, mode)};
}

// Channel 0 of the pixel that a row tap and a column tap of the sample read.
__device__ const Real* tap(const Real* features, const Map& map, const Sample& s, int a, int b) {
  const Index row = s.image * map.height + s.y.pixel[a];
  return features + (row * map.width + s.x.pixel[b]) * map.channels;
}

__device__ Real blend(const Real* features, const Map& map, const Sample& s, Index channel) {
  if (s.image < 0) return not_a_number();
  Real sum = 0;
  for (int a = 0; a < 2; ++a)
    for (int b = 0; b < 2; ++b)
      sum += tap(features, map, s, a, b)[channel] * (s.y.weight[a] * s.x.weight[b]);
  return sum;
}

struct WarpRule {
  Map map;
  Pooling pooling;
  const Real *rois, *grad;
  int mode;

  __device__ Corners<Real> corners(const Real* roi) const {
    return warp_corners(roi, pooling.scale, mode);
  }
  __device__ Real along_y(const Corners<Real>& c, int p, int y) const {
    return weight(warp_sample(c.y1, c.y2, pooling.height, map.height, p, mode), y);
  }
  __device__ Real along_x(const Corners<Real>& c, int q, int x) const {
    return weight(warp_sample(c.x1, c.x2, pooling.width, map.width, q, mode), x);
  }
  __device__ Real given(Index bin, Index channel, Pixel) const {
    return grad[bin * map.channels + channel];
  }
  __device__ static Real weight(const AxisSample<Real>& s, int pixel) {
    return (s.pixel[0] == pixel ? s.adjoint[0] : Real(0)) +
           (s.pixel[1] == pixel ? s.adjoint[1] : Real(0));
  }
};

}  // namespace

// top (R, P, Q, C). Grid: blocks of rows, a row of channels a sample. Each element is one thread's.
extern "C" __global__ void roi_warping(const Real* features, const Real* rois, Real* top,
                                       Index images, Index channels, Index height, Index width,
                                       Index count, Index pooled_h, Index pooled_w, double scale,
                                       Index mode) {
  const Map map = {images, channels, int(height), int(width)};
  for (Index n = first_row(); n < count * pooled_h * pooled_w; n += row_step()) {
    const Index row = n / pooled_w;
    const Sample s = sample_of(rois, row / pooled_h, int(row % pooled_h), int(n % pooled_w),
                               int(pooled_h), int(pooled_w), Real(scale), map, int(mode));
    for (Index c = threadIdx.x; c < channels; c += blockDim.x)
      top[n * channels + c] = blend(features, map, s, c);
  }
}

// top (R, P, Q, C): maxima over 2 x 2 of a warping to (2P, 2Q). Grid: as above.
extern "C" __global__ void roi_warping_pooled(const Real* features, const Real* rois, Real* top,
                                              Index images, Index channels, Index height,
                                              Index width, Index count, Index pooled_h,
                                              Index pooled_w, double scale, Index mode) {
  const Map map = {images, channels, int(height), int(width)};
  for (Index n = first_row(); n < count * pooled_h * pooled_w; n += row_step()) {
    const Index row = n / pooled_w;
    Sample s[4];
#pragma unroll      // so that the samples stay in registers
    for (int i = 0; i < 4; ++i)
      s[i] = sample_of(rois, row / pooled_h, 2 * int(row % pooled_h) + i / 2,
                       2 * int(n % pooled_w) + i % 2, 2 * int(pooled_h), 2 * int(pooled_w),
                       Real(scale), map, int(mode));
    for (Index c = threadIdx.x; c < channels; c += blockDim.x) {
      Real best = blend(features, map, s[0], c);
#pragma unroll
      for (int i = 1; i < 4; ++i) {
        const Real value = blend(features, map, s[i], c);
        if (value > best || value != value) best = value;       // a NaN stays, as in torch
      }
      top[n * channels + c] = best;
    }
  }
}

// d_features (N, H, W, C). Grid: roi_gather.hpp's.
extern "C" __global__ void roi_warping_backward_features(const Real* grad, const Real* rois,
                                                         Real* d_features, Index images,
                                                         Index channels, Index height, Index width,
                                                         Index count, Index pooled_h,
                                                         Index pooled_w, double scale, Index mode) {
  const Map map = {images, channels, int(height), int(width)};
  const Pooling pooling = {count, int(pooled_h), int(pooled_w), Real(scale)};
  gather(WarpRule{map, pooling, rois, grad, int(mode)}, d_features);
}

// slopes (R, P, Q, 2): sums over the channels of grad times the slope of the map, along x and y.
// Grid: a block of one dimension a sample; block_sum joins what its threads sum.
extern "C" __global__ void roi_warping_slopes(const Real* grad, const Real* features,
                                              const Real* rois, Real* slopes, Index images,
                                              Index channels, Index height, Index width,
                                              Index count, Index pooled_h, Index pooled_w,
                                              double scale, Index mode) {
  const Map map = {images, channels, int(height), int(width)};
  for (Index n = blockIdx.x; n < count * pooled_h * pooled_w; n += gridDim.x) {
    const Index row = n / pooled_w;
    const Sample s = sample_of(rois, row / pooled_h, int(row % pooled_h), int(n % pooled_w),
                               int(pooled_h), int(pooled_w), Real(scale), map, int(mode));
    Real dx = 0, dy = 0;
    for (Index c = threadIdx.x; s.image >= 0 && c < channels; c += blockDim.x)
      for (int a = 0; a < 2; ++a)
        for (int b = 0; b < 2; ++b) {
          const Real taken = grad[n * channels + c] * tap(features, map, s, a, b)[c];
          dx += s.y.value[a] * s.x.slope[b] * taken;
          dy += s.y.slope[a] * s.x.value[b] * taken;
        }
    dx = block_sum(dx);
    dy = block_sum(dy);
    if (threadIdx.x == 0) {
      slopes[2 * n] = dx;
      slopes[2 * n + 1] = dy;
    }
  }
}

// d_rois (R, 5) from slopes. Grid: a block of one dimension a RoI; block_sum as above.
extern "C" __global__ void roi_warping_backward_rois(const Real* slopes, const Real* rois,
                                                     Real* d_rois, Index images, Index channels,
                                                     Index height, Index width, Index count,
                                                     Index pooled_h, Index pooled_w, double scale,
                                                     Index mode) {
  const Map map = {images, channels, int(height), int(width)};
  const int samples = int(pooled_h * pooled_w);
  for (Index r = blockIdx.x; r < count; r += gridDim.x) {
    Real x1 = 0, y1 = 0, x2 = 0, y2 = 0;
    for (int i = threadIdx.x; i < samples; i += blockDim.x) {
      const Sample s = sample_of(rois, r, i / int(pooled_w), i % int(pooled_w), int(pooled_h),
                                 int(pooled_w), Real(scale), map, int(mode));
      const Real *slope = slopes + 2 * (r * samples + i), dx = slope[0], dy = slope[1];
      x1 += (Real(1) - s.x.share) * dx;
      y1 += (Real(1) - s.y.share) * dy;
      x2 += s.x.share * dx;
      y2 += s.y.share * dy;
    }
    const Real sums[5] = {Real(0), block_sum(x1), block_sum(y1), block_sum(x2), block_sum(y2)};
    if (threadIdx.x == 0)
      for (int i = 0; i < 5; ++i) d_rois[5 * r + i] = sums[i] * Real(scale);
  }
}

}  // namespace region
