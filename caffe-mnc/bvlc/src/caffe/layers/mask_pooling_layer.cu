#include "caffe/layers/mask_pooling_layer.hpp"

#include <vector>

namespace caffe {

// to[n, c, i] = from[n, c, i] * mask[n, i]
template <typename Dtype>
__global__ void MaskMultiply(const int count, const Dtype* from, const Dtype* mask,
                             const int channels, const int pixels, Dtype* to) {
  CUDA_KERNEL_LOOP(i, count) {
    to[i] = from[i] * mask[i / (channels * pixels) * pixels + i % pixels];
  }
}

// d_mask[n, i] = sum over c of grad[n, c, i] * features[n, c, i]
template <typename Dtype>
__global__ void MaskGradient(const int count, const Dtype* grad, const Dtype* features,
                             const int channels, const int pixels, Dtype* d_mask) {
  CUDA_KERNEL_LOOP(i, count) {
    const int first = i / pixels * channels * pixels + i % pixels;
    Dtype sum = 0;
    for (int c = 0; c < channels; ++c)
      sum += grad[first + c * pixels] * features[first + c * pixels];
    d_mask[i] = sum;
  }
}

template <typename Dtype>
void MaskPoolingLayer<Dtype>::Forward_gpu(const vector<Blob<Dtype>*>& bottom,
                                          const vector<Blob<Dtype>*>& top) {
  if (top[0]->count() == 0) return;     // an empty blob of Caffe has no memory to ask for
  const int count = top[0]->count();
  MaskMultiply<Dtype><<<CAFFE_GET_BLOCKS(count), CAFFE_CUDA_NUM_THREADS>>>(
      count, bottom[0]->gpu_data(), bottom[1]->gpu_data(), bottom[0]->shape(1),
      bottom[0]->count(2), top[0]->mutable_gpu_data());
  CUDA_POST_KERNEL_CHECK;
}

template <typename Dtype>
void MaskPoolingLayer<Dtype>::Backward_gpu(const vector<Blob<Dtype>*>& top,
                                           const vector<bool>& propagate_down,
                                           const vector<Blob<Dtype>*>& bottom) {
  if (top[0]->count() == 0) return;
  const int count = bottom[0]->count(), mask_count = bottom[1]->count();
  const int channels = bottom[0]->shape(1), pixels = bottom[0]->count(2);
  if (propagate_down[0]) {
    MaskMultiply<Dtype><<<CAFFE_GET_BLOCKS(count), CAFFE_CUDA_NUM_THREADS>>>(
        count, top[0]->gpu_diff(), bottom[1]->gpu_data(), channels, pixels,
        bottom[0]->mutable_gpu_diff());
    CUDA_POST_KERNEL_CHECK;
  }
  if (propagate_down[1]) {
    MaskGradient<Dtype><<<CAFFE_GET_BLOCKS(mask_count), CAFFE_CUDA_NUM_THREADS>>>(
        mask_count, top[0]->gpu_diff(), bottom[0]->gpu_data(), channels, pixels,
        bottom[1]->mutable_gpu_diff());
    CUDA_POST_KERNEL_CHECK;
  }
}

INSTANTIATE_LAYER_GPU_FUNCS(MaskPoolingLayer);

}  // namespace caffe
