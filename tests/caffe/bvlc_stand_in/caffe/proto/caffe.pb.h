// What protoc would make of the lines that caffe-mnc/bvlc adds to caffe.proto.
#pragma once

#include <string>

namespace caffe {

enum ROIWarpingParameter_Mode {
  ROIWarpingParameter_Mode_REFERENCE,
  ROIWarpingParameter_Mode_EXACT
};
enum MaskResizeParameter_Mode {
  MaskResizeParameter_Mode_REFERENCE,
  MaskResizeParameter_Mode_EXACT
};

// The options of all layers at once.
struct Options {
  unsigned height, width;
  float scale;
  int exact;
};

struct ROIPoolingParameter {
  Options options;
  unsigned pooled_h() const { return options.height; }
  unsigned pooled_w() const { return options.width; }
  float spatial_scale() const { return options.scale; }
};

struct ROIWarpingParameter : ROIPoolingParameter {
  ROIWarpingParameter_Mode mode() const { return ROIWarpingParameter_Mode(options.exact); }
};

struct MaskResizeParameter {
  Options options;
  unsigned output_height() const { return options.height; }
  unsigned output_width() const { return options.width; }
  MaskResizeParameter_Mode mode() const { return MaskResizeParameter_Mode(options.exact); }
};

class LayerParameter {
 public:
  LayerParameter(const std::string& name, const std::string& type, const Options& options)
      : name_(name), type_(type), mask_resize_{options} {
    pooling_.options = warping_.options = options;
  }
  const std::string& name() const { return name_; }
  const std::string& type() const { return type_; }
  const ROIPoolingParameter& roi_pooling_param() const { return pooling_; }
  const ROIWarpingParameter& roi_warping_param() const { return warping_; }
  const MaskResizeParameter& mask_resize_param() const { return mask_resize_; }

 private:
  std::string name_, type_;
  ROIPoolingParameter pooling_;
  ROIWarpingParameter warping_;
  MaskResizeParameter mask_resize_;
};

}  // namespace caffe
