// RoI pooling on the GPU.
#include "roi_gather.hpp"
#include "roi_pooling.hpp"

namespace region {
namespace {

struct PoolRule {
  Map map;
  Pooling pooling;
  const Real *rois, *grad;
  const int* where;

  __device__ Corners<Real> corners(const Real* roi) const {
    return rounded_corners(roi, pooling.scale);
  }
  __device__ Real along_y(const Corners<Real>& c, int p, int y) const {
    return Real(points_at(y, c.y1, c.y2, pooling.height, p));
  }
  __device__ Real along_x(const Corners<Real>& c, int q, int x) const {
    return Real(points_at(x, c.x1, c.x2, pooling.width, q));
  }
  __device__ Real given(Index bin, Index channel, Pixel pixel) const {
    const Index at = bin * map.channels + channel;
    return where[at] == pixel.y * map.width + pixel.x ? grad[at] : Real(0);
  }
};

}  // namespace

// top and where (R, P, Q, C). Grid: blocks of rows, a row of channels a bin. Each element is one
// thread's, which walks the bin in row-major order.
extern "C" __global__ void roi_pooling(const Real* features, const Real* rois, Real* top,
                                       int* where, Index images, Index channels, Index height,
                                       Index width, Index count, Index pooled_h, Index pooled_w,
                                       double scale) {
  for (Index n = first_row(); n < count * pooled_h * pooled_w; n += row_step()) {
    const Index row = n / pooled_w;
    const Real* roi = rois + 5 * (row / pooled_h);
    const Index image = image_of(roi, images);
    const Corners<Real> corner = rounded_corners(roi, Real(scale));
    Bin y = pooling_bin(corner.y1, corner.y2, int(pooled_h), int(height), int(row % pooled_h));
    const Bin x = pooling_bin(corner.x1, corner.x2, int(pooled_w), int(width), int(n % pooled_w));
    if (image < 0) y.end = y.start;
    const Real* map = features + greatest<Index>(image, 0) * height * width * channels;
    for (Index c = threadIdx.x; c < channels; c += blockDim.x) {
      Real best = LOWEST;
      int place = -1;
      for (int h = y.start; h < y.end; ++h)
        for (int w = x.start; w < x.end; ++w) {
          const int pixel = h * int(width) + w;
          const Real value = map[pixel * channels + c];
          if (value > best) {
            best = value;
            place = pixel;
          }
        }
      top[n * channels + c] = image < 0 ? not_a_number() : place < 0 ? Real(0) : best;
      where[n * channels + c] = place;
    }
  }
}

// d_features (N, H, W, C). Grid: roi_gather.hpp's.
extern "C" __global__ void roi_pooling_backward(const Real* grad, const int* where,
                                                const Real* rois, Real* d_features, Index images,
                                                Index channels, Index height, Index width,
                                                Index count, Index pooled_h, Index pooled_w,
                                                double scale) {
  const Map map = {images, channels, int(height), int(width)};
  const Pooling pooling = {count, int(pooled_h), int(pooled_w), Real(scale)};
  gather(PoolRule{map, pooling, rois, grad, where}, d_features);
}

}  // namespace region
