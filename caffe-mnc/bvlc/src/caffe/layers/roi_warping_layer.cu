#include "caffe/layers/roi_warping_layer.hpp"

#include <vector>

#include "caffe/region/roi_warping.hpp"
#include "caffe/util/math_functions.hpp"

// Nothing here adds atomically: each thread owns one result, so that runs repeat bit for bit.
namespace caffe {

// The sample of bin (p, q) of a RoI, axis by axis.
template <typename Dtype>
struct WarpPoint {
  __device__ WarpPoint(const Dtype* roi, const region::RoiGrid<Dtype>& grid, int mode, int p,
                       int q)
      : box(region::warp_corners(roi, grid.scale, mode)),
        y(region::warp_sample(box.y1, box.y2, grid.pooled_h, grid.height, p, mode)),
        x(region::warp_sample(box.x1, box.x2, grid.pooled_w, grid.width, q, mode)) {}

  region::Corners<Dtype> box;
  region::AxisSample<Dtype> y, x;
};

template <typename Dtype>
__global__ void WarpForward(const int count, const Dtype* features, const Dtype* rois,
                            const region::RoiGrid<Dtype> grid, const int mode, Dtype* top) {
  CUDA_KERNEL_LOOP(i, count) {
    const int q = i % grid.pooled_w, p = i / grid.pooled_w % grid.pooled_h;
    const int plane = i / (grid.pooled_w * grid.pooled_h);
    const int c = plane % grid.channels, r = plane / grid.channels;
    const Dtype* roi = rois + 5 * r;
    const WarpPoint<Dtype> point(roi, grid, mode, p, q);
    const int image = static_cast<int>(roi[0]);
    top[i] = region::sample_plane(
        features + (image * grid.channels + c) * grid.height * grid.width, grid.width,
        point.y.pixel, point.y.weight, point.x.pixel, point.x.weight);
  }
}

// Each pixel of the features gathers from the samples near it.
template <typename Dtype>
__global__ void WarpFeatureGradient(const int count, const Dtype* grad, const Dtype* rois,
                                    const region::RoiGrid<Dtype> grid, const int mode,
                                    Dtype* d_features) {
  CUDA_KERNEL_LOOP(i, count) {
    const int w = i % grid.width, h = i / grid.width % grid.height;
    const int plane = i / (grid.width * grid.height);
    const int c = plane % grid.channels, n = plane / grid.channels;
    Dtype sum = 0;
    for (int r = 0; r < grid.rois; ++r) {
      const Dtype* roi = rois + 5 * r;
      if (static_cast<int>(roi[0]) != n) continue;
      const region::Corners<Dtype> box = region::warp_corners(roi, grid.scale, mode);
      const region::Span ps = region::samples_near(
          h, box.y1, region::greatest(box.y2 - box.y1, Dtype(0)) / grid.pooled_h, grid.pooled_h);
      const region::Span qs = region::samples_near(
          w, box.x1, region::greatest(box.x2 - box.x1, Dtype(0)) / grid.pooled_w, grid.pooled_w);
      const Dtype* from = grad + (r * grid.channels + c) * grid.pooled_h * grid.pooled_w;
      for (int p = ps.start; p < ps.end; ++p) {
        const Dtype y = region::adjoint_at<Dtype>(
            region::warp_sample(box.y1, box.y2, grid.pooled_h, grid.height, p, mode), h);
        if (y == 0) continue;
        for (int q = qs.start; q < qs.end; ++q) {
          const Dtype x = region::adjoint_at<Dtype>(
              region::warp_sample(box.x1, box.x2, grid.pooled_w, grid.width, q, mode), w);
          sum += from[p * grid.pooled_w + q] * (y * x);
        }
      }
    }
    d_features[i] = sum;
  }
}

// What each sample of each RoI moves the four corners by, summed over the channels.
template <typename Dtype>
__global__ void WarpCornerParts(const int count, const Dtype* grad, const Dtype* features,
                                const Dtype* rois, const region::RoiGrid<Dtype> grid,
                                const int mode, Dtype* parts) {
  CUDA_KERNEL_LOOP(i, count) {
    const int samples = grid.pooled_h * grid.pooled_w, s = i % samples, r = i / samples;
    const Dtype* roi = rois + 5 * r;
    const WarpPoint<Dtype> point(roi, grid, mode, s / grid.pooled_w, s % grid.pooled_w);
    const region::AxisSample<Dtype> &y = point.y, &x = point.x;
    const int map = grid.height * grid.width;
    const Dtype* plane = features + static_cast<int>(roi[0]) * grid.channels * map;
    const Dtype* from = grad + r * grid.channels * samples + s;
    Dtype dx = 0, dy = 0;
    for (int c = 0; c < grid.channels; ++c, plane += map, from += samples) {
      dx += *from * region::sample_plane(plane, grid.width, y.pixel, y.value, x.pixel, x.slope);
      dy += *from * region::sample_plane(plane, grid.width, y.pixel, y.slope, x.pixel, x.value);
    }
    Dtype* to = parts + r * 4 * samples + s;
    to[0] = (1 - x.share) * dx;
    to[samples] = (1 - y.share) * dy;
    to[2 * samples] = x.share * dx;
    to[3 * samples] = y.share * dy;
  }
}

template <typename Dtype>
__global__ void WarpRoiGradient(const int count, const Dtype* parts,
                                const region::RoiGrid<Dtype> grid, Dtype* d_rois) {
  CUDA_KERNEL_LOOP(i, count) {
    const int column = i % 5, r = i / 5, samples = grid.pooled_h * grid.pooled_w;
    Dtype sum = 0;
    if (column > 0) {
      const Dtype* from = parts + (r * 4 + column - 1) * samples;
      for (int s = 0; s < samples; ++s) sum += from[s];
    }
    d_rois[i] = sum * grid.scale;
  }
}

template <typename Dtype>
void ROIWarpingLayer<Dtype>::Forward_gpu(const vector<Blob<Dtype>*>& bottom,
                                         const vector<Blob<Dtype>*>& top) {
  if (top[0]->count() == 0) return;     // an empty blob of Caffe has no memory to ask for
  this->CheckImages(*bottom[1]);
  const int count = top[0]->count();
  WarpForward<Dtype><<<CAFFE_GET_BLOCKS(count), CAFFE_CUDA_NUM_THREADS>>>(
      count, bottom[0]->gpu_data(), bottom[1]->gpu_data(), this->grid_, mode_,
      top[0]->mutable_gpu_data());
  CUDA_POST_KERNEL_CHECK;
}

template <typename Dtype>
void ROIWarpingLayer<Dtype>::Backward_gpu(const vector<Blob<Dtype>*>& top,
                                          const vector<bool>& propagate_down,
                                          const vector<Blob<Dtype>*>& bottom) {
  const region::RoiGrid<Dtype>& grid = this->grid_;
  const int count = bottom[0]->count();
  if (grid.rois == 0) {
    if (propagate_down[0]) caffe_gpu_set(count, Dtype(0), bottom[0]->mutable_gpu_diff());
    return;
  }
  if (propagate_down[0]) {
    WarpFeatureGradient<Dtype><<<CAFFE_GET_BLOCKS(count), CAFFE_CUDA_NUM_THREADS>>>(
        count, top[0]->gpu_diff(), bottom[1]->gpu_data(), grid, mode_,
        bottom[0]->mutable_gpu_diff());
    CUDA_POST_KERNEL_CHECK;
  }
  if (propagate_down[1]) {
    corner_parts_.Reshape(grid.rois, 4, grid.pooled_h, grid.pooled_w);
    const int samples = grid.rois * grid.pooled_h * grid.pooled_w, columns = grid.rois * 5;
    WarpCornerParts<Dtype><<<CAFFE_GET_BLOCKS(samples), CAFFE_CUDA_NUM_THREADS>>>(
        samples, top[0]->gpu_diff(), bottom[0]->gpu_data(), bottom[1]->gpu_data(), grid, mode_,
        corner_parts_.mutable_gpu_data());
    CUDA_POST_KERNEL_CHECK;
    WarpRoiGradient<Dtype><<<CAFFE_GET_BLOCKS(columns), CAFFE_CUDA_NUM_THREADS>>>(
        columns, corner_parts_.gpu_data(), grid, bottom[1]->mutable_gpu_diff());
    CUDA_POST_KERNEL_CHECK;
  }
}

INSTANTIATE_LAYER_GPU_FUNCS(ROIWarpingLayer);

}  // namespace caffe
