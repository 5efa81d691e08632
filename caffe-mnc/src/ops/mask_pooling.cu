// Mask pooling on the GPU: a row of channels times one number.
#include "gpu.hpp"

namespace region {

// Grid: blocks of rows, a row of channels a pixel. Each element is one thread's.
extern "C" __global__ void mask_pooling(const Real* features, const Real* mask, Real* top,
                                        Index pixels, Index channels) {
  for (Index n = first_row(); n < pixels; n += row_step())
    for (Index c = threadIdx.x; c < channels; c += blockDim.x)
      top[n * channels + c] = features[n * channels + c] * mask[n];
}

// d_mask (pixels). Grid: a block of one dimension a pixel; block_sum joins what its threads sum.
extern "C" __global__ void mask_pooling_backward_mask(const Real* grad, const Real* features,
                                                      Real* d_mask, Index pixels, Index channels) {
  for (Index n = blockIdx.x; n < pixels; n += gridDim.x) {
    Real sum = 0;
    for (Index c = threadIdx.x; c < channels; c += blockDim.x)
      sum += grad[n * channels + c] * features[n * channels + c];
    sum = block_sum(sum);
    if (threadIdx.x == 0) d_mask[n] = sum;
  }
}

}  // namespace region
