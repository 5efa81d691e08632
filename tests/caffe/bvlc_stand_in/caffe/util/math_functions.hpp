#pragma once

#include <algorithm>

namespace caffe {

template <typename Dtype> void caffe_set(int count, Dtype value, Dtype* to) {
  std::fill(to, to + count, value);
}

#if !defined(CPU_ONLY) && !defined(__CUDACC__)
template <typename Dtype> void caffe_gpu_set(int count, Dtype value, Dtype* to) {
  caffe_set(count, value, to);
}
#else
template <typename Dtype> void caffe_gpu_set(int count, Dtype value, Dtype* to);
#endif

}  // namespace caffe
