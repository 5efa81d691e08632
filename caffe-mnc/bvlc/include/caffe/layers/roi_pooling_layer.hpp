#ifndef CAFFE_ROI_POOLING_LAYER_HPP_
#define CAFFE_ROI_POOLING_LAYER_HPP_

#include <vector>

#include "caffe/layers/roi_layer.hpp"

namespace caffe {

// The maximum over each bin of a RoI with rounded corners; 0 for an empty bin.
//
// bottom and top: see RoiLayer. Differentiable in the features only; the RoIs' gradient is 0.
template <typename Dtype>
class ROIPoolingLayer : public RoiLayer<Dtype> {
 public:
  explicit ROIPoolingLayer(const LayerParameter& param) : RoiLayer<Dtype>(param) {}
  virtual void LayerSetUp(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual void Reshape(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual inline const char* type() const { return "ROIPooling"; }

 protected:
  virtual void Forward_cpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual void Backward_cpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
                            const vector<Blob<Dtype>*>& bottom);
  virtual void Forward_gpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual void Backward_gpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
                            const vector<Blob<Dtype>*>& bottom);

  Blob<int> where_;             // h * W + w of each maximum, -1 in an empty bin
};

}  // namespace caffe

#endif  // CAFFE_ROI_POOLING_LAYER_HPP_
