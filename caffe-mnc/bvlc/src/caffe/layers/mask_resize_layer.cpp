#include "caffe/layers/mask_resize_layer.hpp"

#include <vector>

#include "caffe/layer_factory.hpp"
#include "caffe/region/mask_resize.hpp"
#include "caffe/region/planes.hpp"
#include "caffe/util/math_functions.hpp"

namespace caffe {

template <typename Dtype>
vector<region::ResizeSample<Dtype> > ResizeSamples(int size, int outputs, int mode) {
  vector<region::ResizeSample<Dtype> > samples;
  for (int k = 0; k < outputs; ++k)
    samples.push_back(region::resize_sample<Dtype>(size, outputs, k, mode));
  return samples;
}

template <typename Dtype>
void MaskResizeLayer<Dtype>::LayerSetUp(const vector<Blob<Dtype>*>& bottom,
                                        const vector<Blob<Dtype>*>& top) {
  const MaskResizeParameter& options = this->layer_param_.mask_resize_param();
  const string title = "layer " + this->layer_param_.name() + ": ";
  CHECK_GT(options.output_height(), 0u) << title << "output_height must be at least 1";
  CHECK_GT(options.output_width(), 0u) << title << "output_width must be at least 1";
  CHECK_NE(bottom[0], top[0]) << title << "MaskResize cannot work in place";
  height_ = options.output_height();
  width_ = options.output_width();
  mode_ = options.mode();
}

template <typename Dtype>
void MaskResizeLayer<Dtype>::Reshape(const vector<Blob<Dtype>*>& bottom,
                                     const vector<Blob<Dtype>*>& top) {
  const Blob<Dtype>& masks = *bottom[0];
  CHECK(masks.num_axes() == 4 && masks.count(2) > 0)
      << "layer " << this->layer_param_.name() << ": the bottom must be (N, C, h, w), got "
      << masks.shape_string();
  top[0]->Reshape(masks.shape(0), masks.shape(1), height_, width_);
}

template <typename Dtype>
void MaskResizeLayer<Dtype>::Forward_cpu(const vector<Blob<Dtype>*>& bottom,
                                         const vector<Blob<Dtype>*>& top) {
  if (top[0]->count() == 0) return;     // an empty blob of Caffe has no memory to ask for
  const int height = bottom[0]->shape(2), width = bottom[0]->shape(3);
  const vector<region::ResizeSample<Dtype> >
      ys = ResizeSamples<Dtype>(height, height_, mode_),
      xs = ResizeSamples<Dtype>(width, width_, mode_);
  const Dtype* plane = bottom[0]->cpu_data();
  Dtype* to = top[0]->mutable_cpu_data();
  for (int n = bottom[0]->count(0, 2); n > 0; --n, plane += height * width)
    for (const region::ResizeSample<Dtype>& y : ys)
      for (const region::ResizeSample<Dtype>& x : xs)
        *to++ = region::sample_plane(plane, width, y.pixel, y.weight, x.pixel, x.weight);
}

template <typename Dtype>
void MaskResizeLayer<Dtype>::Backward_cpu(const vector<Blob<Dtype>*>& top,
                                          const vector<bool>& propagate_down,
                                          const vector<Blob<Dtype>*>& bottom) {
  if (!propagate_down[0] || bottom[0]->count() == 0) return;
  const int height = bottom[0]->shape(2), width = bottom[0]->shape(3);
  const vector<region::ResizeSample<Dtype> >
      ys = ResizeSamples<Dtype>(height, height_, mode_),
      xs = ResizeSamples<Dtype>(width, width_, mode_);
  const Dtype* grad = top[0]->cpu_diff();
  Dtype* plane = bottom[0]->mutable_cpu_diff();
  caffe_set(bottom[0]->count(), Dtype(0), plane);
  for (int n = bottom[0]->count(0, 2); n > 0; --n, plane += height * width)
    for (const region::ResizeSample<Dtype>& y : ys)
      for (const region::ResizeSample<Dtype>& x : xs)
        region::add_to_plane(plane, width, *grad++, y.pixel, y.adjoint, x.pixel, x.adjoint);
}

#ifdef CPU_ONLY
STUB_GPU(MaskResizeLayer);
#endif

INSTANTIATE_CLASS(MaskResizeLayer);
REGISTER_LAYER_CLASS(MaskResize);

}  // namespace caffe
