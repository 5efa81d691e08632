#include "caffe/layers/roi_pooling_layer.hpp"

#include <vector>

#include "caffe/region/roi_pooling.hpp"
#include "caffe/util/math_functions.hpp"

namespace caffe {

template <typename Dtype>
__global__ void PoolForward(const int count, const Dtype* features, const Dtype* rois,
                            const region::RoiGrid<Dtype> grid, Dtype* top, int* where) {
  CUDA_KERNEL_LOOP(i, count) {
    const int q = i % grid.pooled_w, p = i / grid.pooled_w % grid.pooled_h;
    const int plane = i / (grid.pooled_w * grid.pooled_h);
    const int c = plane % grid.channels, r = plane / grid.channels;
    const Dtype* roi = rois + 5 * r;
    const int image = static_cast<int>(roi[0]);
    const region::Corners<Dtype> box = region::rounded_corners(roi, grid.scale);
    const region::Peak<Dtype> peak = region::peak_of(
        features + (image * grid.channels + c) * grid.height * grid.width, grid.width,
        region::pooling_bin(box.y1, box.y2, grid.pooled_h, grid.height, p),
        region::pooling_bin(box.x1, box.x2, grid.pooled_w, grid.width, q));
    top[i] = peak.value;
    where[i] = peak.pixel;
  }
}

// Each pixel of the features gathers from the bins it is the maximum of: no atomic additions, so
// that runs repeat bit for bit.
template <typename Dtype>
__global__ void PoolBackward(const int count, const Dtype* grad, const int* where,
                             const Dtype* rois, const region::RoiGrid<Dtype> grid,
                             Dtype* d_features) {
  CUDA_KERNEL_LOOP(i, count) {
    const int w = i % grid.width, h = i / grid.width % grid.height;
    const int plane = i / (grid.width * grid.height);
    const int c = plane % grid.channels, n = plane / grid.channels;
    Dtype sum = 0;
    for (int r = 0; r < grid.rois; ++r) {
      const Dtype* roi = rois + 5 * r;
      if (static_cast<int>(roi[0]) != n) continue;
      const region::Corners<Dtype> box = region::rounded_corners(roi, grid.scale);
      const region::Span ps = region::bins_near(h, box.y1, box.y2, grid.pooled_h);
      const region::Span qs = region::bins_near(w, box.x1, box.x2, grid.pooled_w);
      const int first = (r * grid.channels + c) * grid.pooled_h * grid.pooled_w;
      for (int p = ps.start; p < ps.end; ++p) {
        if (!region::points_at(h, box.y1, box.y2, grid.pooled_h, p)) continue;
        for (int q = qs.start; q < qs.end; ++q) {
          const int bin = first + p * grid.pooled_w + q;
          if (where[bin] == h * grid.width + w &&
              region::points_at(w, box.x1, box.x2, grid.pooled_w, q))
            sum += grad[bin];
        }
      }
    }
    d_features[i] = sum;
  }
}

template <typename Dtype>
void ROIPoolingLayer<Dtype>::Forward_gpu(const vector<Blob<Dtype>*>& bottom,
                                         const vector<Blob<Dtype>*>& top) {
  if (top[0]->count() == 0) return;     // an empty blob of Caffe has no memory to ask for
  this->CheckImages(*bottom[1]);
  const int count = top[0]->count();
  PoolForward<Dtype><<<CAFFE_GET_BLOCKS(count), CAFFE_CUDA_NUM_THREADS>>>(
      count, bottom[0]->gpu_data(), bottom[1]->gpu_data(), this->grid_,
      top[0]->mutable_gpu_data(), where_.mutable_gpu_data());
  CUDA_POST_KERNEL_CHECK;
}

template <typename Dtype>
void ROIPoolingLayer<Dtype>::Backward_gpu(const vector<Blob<Dtype>*>& top,
                                          const vector<bool>& propagate_down,
                                          const vector<Blob<Dtype>*>& bottom) {
  const int count = bottom[0]->count();
  if (this->grid_.rois == 0) {
    if (propagate_down[0]) caffe_gpu_set(count, Dtype(0), bottom[0]->mutable_gpu_diff());
    return;
  }
  if (propagate_down[1])
    caffe_gpu_set(bottom[1]->count(), Dtype(0), bottom[1]->mutable_gpu_diff());
  if (!propagate_down[0]) return;
  PoolBackward<Dtype><<<CAFFE_GET_BLOCKS(count), CAFFE_CUDA_NUM_THREADS>>>(
      count, top[0]->gpu_diff(), where_.gpu_data(), bottom[1]->gpu_data(), this->grid_,
      bottom[0]->mutable_gpu_diff());
  CUDA_POST_KERNEL_CHECK;
}

INSTANTIATE_LAYER_GPU_FUNCS(ROIPoolingLayer);

}  // namespace caffe
