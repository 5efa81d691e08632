#ifndef CAFFE_ROI_LAYER_HPP_
#define CAFFE_ROI_LAYER_HPP_

#include <string>
#include <vector>

#include "caffe/blob.hpp"
#include "caffe/layer.hpp"
#include "caffe/proto/caffe.pb.h"
#include "caffe/region/planes.hpp"

namespace caffe {

// What ROIPooling and ROIWarping share.
//
// bottom: features (N, C, H, W); rois (R, 5) as (n, x1, y1, x2, y2) in image pixels, R may be 0
// top:    (R, C, pooled_h, pooled_w)
template <typename Dtype>
class RoiLayer : public Layer<Dtype> {
 public:
  explicit RoiLayer(const LayerParameter& param) : Layer<Dtype>(param) {}
  virtual void Reshape(const vector<Blob<Dtype>*>& bottom, const vector<Blob<Dtype>*>& top);
  virtual inline int ExactNumBottomBlobs() const { return 2; }
  virtual inline int ExactNumTopBlobs() const { return 1; }

 protected:
  template <typename Options> void TakeOptions(const Options& options);
  // Every RoI must name an image of the batch. Reads the RoIs on the host, in GPU mode too.
  void CheckImages(const Blob<Dtype>& rois) const;
  string Title() const { return "layer " + this->layer_param_.name() + ": "; }

  region::RoiGrid<Dtype> grid_;
};

template <typename Dtype>
template <typename Options>
void RoiLayer<Dtype>::TakeOptions(const Options& options) {
  CHECK_GT(options.pooled_h(), 0u) << Title() << "pooled_h must be at least 1";
  CHECK_GT(options.pooled_w(), 0u) << Title() << "pooled_w must be at least 1";
  grid_.pooled_h = options.pooled_h();
  grid_.pooled_w = options.pooled_w();
  grid_.scale = options.spatial_scale();
}

template <typename Dtype>
void RoiLayer<Dtype>::Reshape(const vector<Blob<Dtype>*>& bottom,
                              const vector<Blob<Dtype>*>& top) {
  const Blob<Dtype> &features = *bottom[0], &rois = *bottom[1];
  CHECK(features.num_axes() == 4 && features.count() > 0)
      << Title() << "bottom 0 (features) must be (N, C, H, W), got " << features.shape_string();
  CHECK(rois.num_axes() > 0 && rois.count(1) == 5)
      << Title() << "bottom 1 (rois) must be (R, 5), got " << rois.shape_string();
  grid_.images = features.shape(0);
  grid_.channels = features.shape(1);
  grid_.height = features.shape(2);
  grid_.width = features.shape(3);
  grid_.rois = rois.shape(0);
  top[0]->Reshape(grid_.rois, grid_.channels, grid_.pooled_h, grid_.pooled_w);
}

template <typename Dtype>
void RoiLayer<Dtype>::CheckImages(const Blob<Dtype>& rois) const {
  const Dtype* roi = rois.cpu_data();
  for (int r = 0; r < grid_.rois; ++r, roi += 5) {
    CHECK(roi[0] > -1 && roi[0] < grid_.images)
        << Title() << "RoI " << r << " names image " << roi[0] << ", but the batch holds "
        << grid_.images << " image(s), numbered from 0";
  }
}

}  // namespace caffe

#endif  // CAFFE_ROI_LAYER_HPP_
