#include "caffe/layers/mask_pooling_layer.hpp"

#include <vector>

#include "caffe/layer_factory.hpp"
#include "caffe/util/math_functions.hpp"

namespace caffe {

template <typename Dtype>
void MaskPoolingLayer<Dtype>::Reshape(const vector<Blob<Dtype>*>& bottom,
                                      const vector<Blob<Dtype>*>& top) {
  const Blob<Dtype> &features = *bottom[0], &mask = *bottom[1];
  const string title = "layer " + this->layer_param_.name() + ": ";
  CHECK(features.num_axes() == 4 && features.shape(1) > 0)
      << title << "bottom 0 (features) must be (N, C, H, W), got " << features.shape_string();
  vector<int> one_channel = features.shape();
  one_channel[1] = 1;
  CHECK(mask.shape() == one_channel)
      << title << "bottom 1 (mask) must be (N, 1, H, W) for features " << features.shape_string()
      << ", got " << mask.shape_string();
  CHECK(top[0] != bottom[0] && top[0] != bottom[1])
      << title << "MaskPooling cannot work in place";
  top[0]->ReshapeLike(features);
}

template <typename Dtype>
void MaskPoolingLayer<Dtype>::Forward_cpu(const vector<Blob<Dtype>*>& bottom,
                                          const vector<Blob<Dtype>*>& top) {
  if (top[0]->count() == 0) return;     // an empty blob of Caffe has no memory to ask for
  const int images = bottom[0]->shape(0), channels = bottom[0]->shape(1);
  const int pixels = bottom[0]->count(2);
  const Dtype *features = bottom[0]->cpu_data(), *mask = bottom[1]->cpu_data();
  Dtype* to = top[0]->mutable_cpu_data();
  for (int n = 0; n < images; ++n, mask += pixels)
    for (int c = 0; c < channels; ++c)
      for (int i = 0; i < pixels; ++i) *to++ = *features++ * mask[i];
}

template <typename Dtype>
void MaskPoolingLayer<Dtype>::Backward_cpu(const vector<Blob<Dtype>*>& top,
                                           const vector<bool>& propagate_down,
                                           const vector<Blob<Dtype>*>& bottom) {
  if (top[0]->count() == 0) return;
  const int images = bottom[0]->shape(0), channels = bottom[0]->shape(1);
  const int pixels = bottom[0]->count(2);
  if (propagate_down[0]) {
    const Dtype *grad = top[0]->cpu_diff(), *mask = bottom[1]->cpu_data();
    Dtype* d_features = bottom[0]->mutable_cpu_diff();
    for (int n = 0; n < images; ++n, mask += pixels)
      for (int c = 0; c < channels; ++c)
        for (int i = 0; i < pixels; ++i) *d_features++ = *grad++ * mask[i];
  }
  if (propagate_down[1]) {
    const Dtype *grad = top[0]->cpu_diff(), *features = bottom[0]->cpu_data();
    Dtype* d_mask = bottom[1]->mutable_cpu_diff();
    caffe_set(bottom[1]->count(), Dtype(0), d_mask);
    for (int n = 0; n < images; ++n, d_mask += pixels)
      for (int c = 0; c < channels; ++c)
        for (int i = 0; i < pixels; ++i) d_mask[i] += *grad++ * *features++;
  }
}

#ifdef CPU_ONLY
STUB_GPU(MaskPoolingLayer);
#endif

INSTANTIATE_CLASS(MaskPoolingLayer);
REGISTER_LAYER_CLASS(MaskPooling);

}  // namespace caffe
