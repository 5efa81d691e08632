#pragma once

#include "caffe/layer.hpp"

namespace caffe {

template <typename Dtype>
struct LayerRegistry {
  typedef shared_ptr<Layer<Dtype> > (*Creator)(const LayerParameter&);
  static std::map<string, Creator>& Registry() {
    static std::map<string, Creator> registry;
    return registry;
  }
  static shared_ptr<Layer<Dtype> > CreateLayer(const LayerParameter& param) {
    return Registry().at(param.type())(param);
  }
};

template <typename Dtype>
struct LayerRegisterer {
  LayerRegisterer(const string& type, typename LayerRegistry<Dtype>::Creator creator) {
    LayerRegistry<Dtype>::Registry()[type] = creator;
  }
};

}  // namespace caffe

#define REGISTER_LAYER_CLASS(type) \
  template <typename Dtype> \
  shared_ptr<Layer<Dtype> > Creator_##type(const LayerParameter& param) { \
    return shared_ptr<Layer<Dtype> >(new type##Layer<Dtype>(param)); \
  } \
  static LayerRegisterer<float> registerer_f_##type(#type, Creator_##type<float>); \
  static LayerRegisterer<double> registerer_d_##type(#type, Creator_##type<double>)
