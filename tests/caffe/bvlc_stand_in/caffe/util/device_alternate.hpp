// Three ways to build: CPU_ONLY; with nvcc; and with a C++ compiler alone, which runs the kernels
// one thread after the other (a launch is then written as emulation::launch, see the test).
#pragma once

#ifdef CPU_ONLY

#define STUB_GPU(name) \
  template <typename Dtype> void name<Dtype>::Forward_gpu( \
      const vector<Blob<Dtype>*>&, const vector<Blob<Dtype>*>&) { CHECK(!"a GPU"); } \
  template <typename Dtype> void name<Dtype>::Backward_gpu( \
      const vector<Blob<Dtype>*>&, const vector<bool>&, const vector<Blob<Dtype>*>&) { \
    CHECK(!"a GPU"); \
  }

#else

#define CUDA_KERNEL_LOOP(i, n) \
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < (n); i += blockDim.x * gridDim.x)

namespace caffe {

const int CAFFE_CUDA_NUM_THREADS = 512;
inline int CAFFE_GET_BLOCKS(int n) {
  return (n + CAFFE_CUDA_NUM_THREADS - 1) / CAFFE_CUDA_NUM_THREADS;
}

}  // namespace caffe

#ifdef __CUDACC__
#define CUDA_POST_KERNEL_CHECK CHECK_EQ(cudaPeekAtLastError(), cudaSuccess)
#else

#include <stdexcept>

#define __global__
#define __device__
#define CUDA_POST_KERNEL_CHECK (void)0

struct Index { int x; };
extern Index gridDim, blockDim, blockIdx, threadIdx;

namespace emulation {

template <typename... Parameters, typename... Arguments>
void launch(int blocks, int threads, void (*kernel)(Parameters...), Arguments... arguments) {
  if (blocks < 1 || threads < 1 || threads > 1024) throw std::runtime_error("invalid launch");
  gridDim.x = blocks;
  blockDim.x = threads;
  for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x)
    for (threadIdx.x = 0; threadIdx.x < threads; ++threadIdx.x) kernel(arguments...);
}

}  // namespace emulation

#endif  // __CUDACC__
#endif  // CPU_ONLY
