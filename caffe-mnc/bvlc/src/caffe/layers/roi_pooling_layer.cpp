#include "caffe/layers/roi_pooling_layer.hpp"

#include <vector>

#include "caffe/layer_factory.hpp"
#include "caffe/region/roi_pooling.hpp"
#include "caffe/util/math_functions.hpp"

namespace caffe {

template <typename Dtype>
void ROIPoolingLayer<Dtype>::LayerSetUp(const vector<Blob<Dtype>*>& /*bottom*/,
                                        const vector<Blob<Dtype>*>& /*top*/) {
  this->TakeOptions(this->layer_param_.roi_pooling_param());
}

template <typename Dtype>
void ROIPoolingLayer<Dtype>::Reshape(const vector<Blob<Dtype>*>& bottom,
                                     const vector<Blob<Dtype>*>& top) {
  RoiLayer<Dtype>::Reshape(bottom, top);
  where_.Reshape(top[0]->shape());
}

template <typename Dtype>
void ROIPoolingLayer<Dtype>::Forward_cpu(const vector<Blob<Dtype>*>& bottom,
                                         const vector<Blob<Dtype>*>& top) {
  if (top[0]->count() == 0) return;     // an empty blob of Caffe has no memory to ask for
  this->CheckImages(*bottom[1]);
  const region::RoiGrid<Dtype>& grid = this->grid_;
  const Dtype *features = bottom[0]->cpu_data(), *roi = bottom[1]->cpu_data();
  Dtype* to = top[0]->mutable_cpu_data();
  int* where = where_.mutable_cpu_data();
  for (int r = 0; r < grid.rois; ++r, roi += 5) {
    const region::Corners<Dtype> box = region::rounded_corners(roi, grid.scale);
    for (int c = 0; c < grid.channels; ++c) {
      const Dtype* plane = features + bottom[0]->offset(static_cast<int>(roi[0]), c);
      for (int p = 0; p < grid.pooled_h; ++p) {
        const region::Bin y = region::pooling_bin(box.y1, box.y2, grid.pooled_h, grid.height, p);
        for (int q = 0; q < grid.pooled_w; ++q) {
          const region::Bin x = region::pooling_bin(box.x1, box.x2, grid.pooled_w, grid.width, q);
          const region::Peak<Dtype> peak = region::peak_of(plane, grid.width, y, x);
          *to++ = peak.value;
          *where++ = peak.pixel;
        }
      }
    }
  }
}

template <typename Dtype>
void ROIPoolingLayer<Dtype>::Backward_cpu(const vector<Blob<Dtype>*>& top,
                                          const vector<bool>& propagate_down,
                                          const vector<Blob<Dtype>*>& bottom) {
  const region::RoiGrid<Dtype>& grid = this->grid_;
  if (propagate_down[0])
    caffe_set(bottom[0]->count(), Dtype(0), bottom[0]->mutable_cpu_diff());
  if (grid.rois == 0) return;
  if (propagate_down[1])
    caffe_set(bottom[1]->count(), Dtype(0), bottom[1]->mutable_cpu_diff());
  if (!propagate_down[0]) return;
  const Dtype *grad = top[0]->cpu_diff(), *roi = bottom[1]->cpu_data();
  const int* where = where_.cpu_data();
  Dtype* d_features = bottom[0]->mutable_cpu_diff();
  for (int r = 0; r < grid.rois; ++r, roi += 5) {
    const region::Corners<Dtype> box = region::rounded_corners(roi, grid.scale);
    for (int c = 0; c < grid.channels; ++c) {
      Dtype* plane = d_features + bottom[0]->offset(static_cast<int>(roi[0]), c);
      for (int p = 0; p < grid.pooled_h; ++p)
        for (int q = 0; q < grid.pooled_w; ++q, ++grad, ++where) {
          const int h = *where / grid.width, w = *where % grid.width;
          if (*where >= 0 && region::points_at(h, box.y1, box.y2, grid.pooled_h, p) &&
              region::points_at(w, box.x1, box.x2, grid.pooled_w, q))
            plane[*where] += *grad;
        }
    }
  }
}

#ifdef CPU_ONLY
STUB_GPU(ROIPoolingLayer);
#endif

INSTANTIATE_CLASS(ROIPoolingLayer);
REGISTER_LAYER_CLASS(ROIPooling);

}  // namespace caffe
