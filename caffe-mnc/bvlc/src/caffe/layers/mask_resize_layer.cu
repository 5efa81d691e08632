#include "caffe/layers/mask_resize_layer.hpp"

#include <vector>

#include "caffe/region/mask_resize.hpp"
#include "caffe/region/planes.hpp"

namespace caffe {

struct Resizing { int height, width, out_height, out_width, mode; };

template <typename Dtype>
__global__ void ResizeForward(const int count, const Dtype* masks, const Resizing size,
                              Dtype* top) {
  CUDA_KERNEL_LOOP(i, count) {
    const int q = i % size.out_width, p = i / size.out_width % size.out_height;
    const int plane = i / (size.out_width * size.out_height);
    const region::ResizeSample<Dtype>
        y = region::resize_sample<Dtype>(size.height, size.out_height, p, size.mode),
        x = region::resize_sample<Dtype>(size.width, size.out_width, q, size.mode);
    top[i] = region::sample_plane(masks + plane * size.height * size.width, size.width, y.pixel,
                                  y.weight, x.pixel, x.weight);
  }
}

// Each pixel gathers from the outputs near it: no atomic additions, so that runs repeat bit for
// bit.
template <typename Dtype>
__global__ void ResizeBackward(const int count, const Dtype* grad, const Resizing size,
                               Dtype* d_masks) {
  CUDA_KERNEL_LOOP(i, count) {
    const int w = i % size.width, h = i / size.width % size.height;
    const int plane = i / (size.width * size.height);
    const region::Span ps = region::samples_near(
        h, Dtype(0), Dtype(size.height) / size.out_height, size.out_height);
    const region::Span qs = region::samples_near(
        w, Dtype(0), Dtype(size.width) / size.out_width, size.out_width);
    const Dtype* from = grad + plane * size.out_height * size.out_width;
    Dtype sum = 0;
    for (int p = ps.start; p < ps.end; ++p) {
      const Dtype y = region::adjoint_at<Dtype>(
          region::resize_sample<Dtype>(size.height, size.out_height, p, size.mode), h);
      if (y == 0) continue;
      for (int q = qs.start; q < qs.end; ++q) {
        const Dtype x = region::adjoint_at<Dtype>(
            region::resize_sample<Dtype>(size.width, size.out_width, q, size.mode), w);
        sum += from[p * size.out_width + q] * (y * x);
      }
    }
    d_masks[i] = sum;
  }
}

template <typename Dtype>
void MaskResizeLayer<Dtype>::Forward_gpu(const vector<Blob<Dtype>*>& bottom,
                                         const vector<Blob<Dtype>*>& top) {
  if (top[0]->count() == 0) return;     // an empty blob of Caffe has no memory to ask for
  const int count = top[0]->count();
  const Resizing size = {bottom[0]->shape(2), bottom[0]->shape(3), height_, width_, mode_};
  ResizeForward<Dtype><<<CAFFE_GET_BLOCKS(count), CAFFE_CUDA_NUM_THREADS>>>(
      count, bottom[0]->gpu_data(), size, top[0]->mutable_gpu_data());
  CUDA_POST_KERNEL_CHECK;
}

template <typename Dtype>
void MaskResizeLayer<Dtype>::Backward_gpu(const vector<Blob<Dtype>*>& top,
                                          const vector<bool>& propagate_down,
                                          const vector<Blob<Dtype>*>& bottom) {
  if (!propagate_down[0] || bottom[0]->count() == 0) return;
  const int count = bottom[0]->count();
  const Resizing size = {bottom[0]->shape(2), bottom[0]->shape(3), height_, width_, mode_};
  ResizeBackward<Dtype><<<CAFFE_GET_BLOCKS(count), CAFFE_CUDA_NUM_THREADS>>>(
      count, top[0]->gpu_diff(), size, bottom[0]->mutable_gpu_diff());
  CUDA_POST_KERNEL_CHECK;
}

INSTANTIATE_LAYER_GPU_FUNCS(MaskResizeLayer);

}  // namespace caffe
