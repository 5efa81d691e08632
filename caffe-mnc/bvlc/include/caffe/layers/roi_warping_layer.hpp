#ifndef CAFFE_ROI_WARPING_LAYER_HPP_
#define CAFFE_ROI_WARPING_LAYER_HPP_

#include <vector>

#include "caffe/layers/roi_layer.hpp"

namespace caffe {

// top[r, c, p, q] = bilinear(features[n_r, c], y, x),  y = y1 + p * (y2 - y1) / pooled_h,  x alike
//
// bottom and top: see RoiLayer. 0 where a sample falls outside the map. Differentiable in the
// features and in the RoIs. mode REFERENCE: rounded corners and the gradients of the original MNC;
// EXACT: continuous corners and the true derivatives.
template <typename Dtype>
class ROIWarpingLayer : public RoiLayer<Dtype> {
 public:
  explicit ROIWarpingLayer(const LayerParameter& param) : RoiLayer<Dtype>(param) {}
  virtual void LayerSetUp(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual inline const char* type() const { return "ROIWarping"; }

 protected:
  virtual void Forward_cpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual void Backward_cpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
                            const vector<Blob<Dtype>*>& bottom);
  virtual void Forward_gpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual void Backward_gpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
                            const vector<Blob<Dtype>*>& bottom);
  void FeatureGradient_cpu(const Blob<Dtype>& top, const vector<Blob<Dtype>*>& bottom);
  void RoiGradient_cpu(const Blob<Dtype>& top, const vector<Blob<Dtype>*>& bottom);

  int mode_;
  Blob<Dtype> corner_parts_;    // (R, 4, P, Q): each sample's part in d x1, d y1, d x2, d y2
};

}  // namespace caffe

#endif  // CAFFE_ROI_WARPING_LAYER_HPP_
