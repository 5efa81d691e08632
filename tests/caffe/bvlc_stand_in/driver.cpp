// One layer, forward and backward, for a caller that has arrays (ctypes).
#include <algorithm>

#include "caffe/layer_factory.hpp"

Index gridDim, blockDim, blockIdx, threadIdx;

struct Array {
  void *data, *diff;    // float or double; of the bottoms diff, of the top data is written
  int axes, shape[4];
};

namespace caffe {

template <typename Dtype> void fill(Blob<Dtype>* blob, const Array& array) {
  blob->Reshape(vector<int>(array.shape, array.shape + array.axes));
  if (blob->count() == 0) return;
  const Dtype *data = static_cast<Dtype*>(array.data), *diff = static_cast<Dtype*>(array.diff);
  std::copy(data, data + blob->count(), blob->mutable_cpu_data());
  std::copy(diff, diff + blob->count(), blob->mutable_cpu_diff());
}

template <typename Dtype>
void run(const LayerParameter& param, vector<Array> bottoms, const Array& top_array,
         const vector<bool>& propagate_down, bool in_place) {
  vector<Blob<Dtype> > blobs(bottoms.size());
  vector<Blob<Dtype>*> bottom;
  for (size_t i = 0; i < bottoms.size(); ++i) {
    fill(&blobs[i], bottoms[i]);
    bottom.push_back(&blobs[i]);
  }
  Blob<Dtype> own_top, &top = in_place ? blobs.back() : own_top;
  const shared_ptr<Layer<Dtype> > layer = LayerRegistry<Dtype>::CreateLayer(param);
  CHECK_EQ(layer->type(), param.type());
  layer->SetUp(bottom, {&top});
  layer->Forward(bottom, {&top});
  const vector<int> expected(top_array.shape, top_array.shape + top_array.axes);
  CHECK(top.shape() == expected) << "top is " << top.shape_string();
  if (top.count() > 0) {
    std::copy_n(top.cpu_data(), top.count(), static_cast<Dtype*>(top_array.data));
    std::copy_n(static_cast<Dtype*>(top_array.diff), top.count(), top.mutable_cpu_diff());
  }
  layer->Backward({&top}, propagate_down, bottom);
  for (size_t i = 0; i < bottoms.size(); ++i)
    if (blobs[i].count() > 0)
      std::copy_n(blobs[i].cpu_diff(), blobs[i].count(), static_cast<Dtype*>(bottoms[i].diff));
}

}  // namespace caffe

// Returns "" or what would have ended Caffe.
extern "C" const char* run_layer(const char* type, int height, int width, float scale, int exact,
                                 int wide, int gpu, int in_place, int bottoms,
                                 const Array* bottom, const int* propagate_down,
                                 const Array* top) {
  static std::string error;
  error.clear();
  try {
    caffe::Caffe::mode() = gpu ? caffe::Caffe::GPU : caffe::Caffe::CPU;
    const caffe::LayerParameter param(
        "it", type, {unsigned(height), unsigned(width), scale, exact});
    (wide ? caffe::run<double> : caffe::run<float>)(
        param, {bottom, bottom + bottoms}, *top,
        std::vector<bool>(propagate_down, propagate_down + bottoms), in_place);
  } catch (const std::exception& exception) {
    error = exception.what();
  }
  return error.c_str();
}
