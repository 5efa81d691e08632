#include "caffe/layers/roi_warping_layer.hpp"

#include <vector>

#include "caffe/layer_factory.hpp"
#include "caffe/region/roi_warping.hpp"
#include "caffe/util/math_functions.hpp"

namespace caffe {

// The sample points of one RoI: pooled_h along y, pooled_w along x.
template <typename Dtype>
struct WarpPoints {
  WarpPoints(const Dtype* roi, const region::RoiGrid<Dtype>& grid, int mode) {
    const region::Corners<Dtype> box = region::warp_corners(roi, grid.scale, mode);
    for (int p = 0; p < grid.pooled_h; ++p)
      y.push_back(region::warp_sample(box.y1, box.y2, grid.pooled_h, grid.height, p, mode));
    for (int q = 0; q < grid.pooled_w; ++q)
      x.push_back(region::warp_sample(box.x1, box.x2, grid.pooled_w, grid.width, q, mode));
  }

  vector<region::AxisSample<Dtype> > y, x;
};

template <typename Dtype>
void ROIWarpingLayer<Dtype>::LayerSetUp(const vector<Blob<Dtype>*>& /*bottom*/,
                                        const vector<Blob<Dtype>*>& /*top*/) {
  this->TakeOptions(this->layer_param_.roi_warping_param());
  mode_ = this->layer_param_.roi_warping_param().mode();
}

template <typename Dtype>
void ROIWarpingLayer<Dtype>::Forward_cpu(const vector<Blob<Dtype>*>& bottom,
                                         const vector<Blob<Dtype>*>& top) {
  if (top[0]->count() == 0) return;     // an empty blob of Caffe has no memory to ask for
  this->CheckImages(*bottom[1]);
  const region::RoiGrid<Dtype>& grid = this->grid_;
  const Dtype *features = bottom[0]->cpu_data(), *roi = bottom[1]->cpu_data();
  Dtype* to = top[0]->mutable_cpu_data();
  for (int r = 0; r < grid.rois; ++r, roi += 5) {
    const WarpPoints<Dtype> points(roi, grid, mode_);
    for (int c = 0; c < grid.channels; ++c) {
      const Dtype* plane = features + bottom[0]->offset(static_cast<int>(roi[0]), c);
      for (const region::AxisSample<Dtype>& y : points.y)
        for (const region::AxisSample<Dtype>& x : points.x)
          *to++ = region::sample_plane(plane, grid.width, y.pixel, y.weight, x.pixel, x.weight);
    }
  }
}

template <typename Dtype>
void ROIWarpingLayer<Dtype>::Backward_cpu(const vector<Blob<Dtype>*>& top,
                                          const vector<bool>& propagate_down,
                                          const vector<Blob<Dtype>*>& bottom) {
  if (propagate_down[0]) FeatureGradient_cpu(*top[0], bottom);
  if (propagate_down[1] && this->grid_.rois > 0) RoiGradient_cpu(*top[0], bottom);
}

template <typename Dtype>
void ROIWarpingLayer<Dtype>::FeatureGradient_cpu(const Blob<Dtype>& top,
                                                 const vector<Blob<Dtype>*>& bottom) {
  const region::RoiGrid<Dtype>& grid = this->grid_;
  Dtype* d_features = bottom[0]->mutable_cpu_diff();
  caffe_set(bottom[0]->count(), Dtype(0), d_features);
  if (grid.rois == 0) return;
  const Dtype *grad = top.cpu_diff(), *roi = bottom[1]->cpu_data();
  for (int r = 0; r < grid.rois; ++r, roi += 5) {
    const WarpPoints<Dtype> points(roi, grid, mode_);
    for (int c = 0; c < grid.channels; ++c) {
      Dtype* plane = d_features + bottom[0]->offset(static_cast<int>(roi[0]), c);
      for (const region::AxisSample<Dtype>& y : points.y)
        for (const region::AxisSample<Dtype>& x : points.x)
          region::add_to_plane(plane, grid.width, *grad++, y.pixel, y.adjoint, x.pixel, x.adjoint);
    }
  }
}

template <typename Dtype>
void ROIWarpingLayer<Dtype>::RoiGradient_cpu(const Blob<Dtype>& top,
                                             const vector<Blob<Dtype>*>& bottom) {
  const region::RoiGrid<Dtype>& grid = this->grid_;
  const Dtype *features = bottom[0]->cpu_data(), *roi = bottom[1]->cpu_data();
  Dtype* d_roi = bottom[1]->mutable_cpu_diff();
  const int samples = grid.pooled_h * grid.pooled_w;
  for (int r = 0; r < grid.rois; ++r, roi += 5, d_roi += 5) {
    const WarpPoints<Dtype> points(roi, grid, mode_);
    vector<Dtype> dx(samples, Dtype(0)), dy(samples, Dtype(0));     // summed over the channels
    for (int c = 0; c < grid.channels; ++c) {
      const Dtype* plane = features + bottom[0]->offset(static_cast<int>(roi[0]), c);
      const Dtype* grad = top.cpu_diff() + top.offset(r, c);
      for (int s = 0; s < samples; ++s) {
        const region::AxisSample<Dtype> &y = points.y[s / grid.pooled_w],
                                        &x = points.x[s % grid.pooled_w];
        dx[s] += grad[s] * region::sample_plane(plane, grid.width, y.pixel, y.value, x.pixel,
                                                x.slope);
        dy[s] += grad[s] * region::sample_plane(plane, grid.width, y.pixel, y.slope, x.pixel,
                                                x.value);
      }
    }
    caffe_set(5, Dtype(0), d_roi);
    for (int s = 0; s < samples; ++s) {
      const Dtype y_share = points.y[s / grid.pooled_w].share;
      const Dtype x_share = points.x[s % grid.pooled_w].share;
      d_roi[1] += (1 - x_share) * dx[s];
      d_roi[2] += (1 - y_share) * dy[s];
      d_roi[3] += x_share * dx[s];
      d_roi[4] += y_share * dy[s];
    }
    for (int k = 1; k < 5; ++k) d_roi[k] *= grid.scale;
  }
}

#ifdef CPU_ONLY
STUB_GPU(ROIWarpingLayer);
#endif

INSTANTIATE_CLASS(ROIWarpingLayer);
REGISTER_LAYER_CLASS(ROIWarping);

}  // namespace caffe
