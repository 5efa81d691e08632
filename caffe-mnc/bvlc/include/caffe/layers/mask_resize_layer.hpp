#ifndef CAFFE_MASK_RESIZE_LAYER_HPP_
#define CAFFE_MASK_RESIZE_LAYER_HPP_

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layer.hpp"
#include "caffe/proto/caffe.pb.h"

namespace caffe {

// (N, C, h, w) -> (N, C, output_height, output_width), bilinear, corner aligned at 0.
//
// mode REFERENCE: the gradient of the original MNC, which loses some when enlarging; EXACT: the
// adjoint. The forward pass is the same in both.
template <typename Dtype>
class MaskResizeLayer : public Layer<Dtype> {
 public:
  explicit MaskResizeLayer(const LayerParameter& param) : Layer<Dtype>(param) {}
  virtual void LayerSetUp(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual void Reshape(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual inline const char* type() const { return "MaskResize"; }
  virtual inline int ExactNumBottomBlobs() const { return 1; }
  virtual inline int ExactNumTopBlobs() const { return 1; }

 protected:
  virtual void Forward_cpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual void Backward_cpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
                            const vector<Blob<Dtype>*>& bottom);
  virtual void Forward_gpu(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual void Backward_gpu(const vector<Blob<Dtype>*>& top, const vector<bool>& propagate_down,
                            const vector<Blob<Dtype>*>& bottom);

  int height_, width_, mode_;   // of the top
};

}  // namespace caffe

#endif  // CAFFE_MASK_RESIZE_LAYER_HPP_
