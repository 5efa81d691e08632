// For the kernels on the GPU. Who compiles a .cu file defines REAL, the precision (float or
// double), and THREADS, the most threads of a block (a power of two).
//
// Every kernel is extern "C", so that it is found by its name, and takes addresses, Index and
// double: 8 bytes each. Arrays are as kernels.hpp says. Any grid will do for any size: the loops
// step by the whole grid.
//
// No sum is made by atomic additions: each is one thread's, or block_sum's, in an order that the
// sizes alone decide. So results repeat to the bit.
#pragma once

#include "common.hpp"

namespace region {

using Real = REAL;
using Index = long long;

struct Map { Index images, channels; int height, width; };
struct Pooling { Index rois; int height, width; Real scale; };      // scale: image to map

// Blocks of rows: (lanes, rows) threads; the lanes of a row lie side by side in memory.
__device__ inline Index first_row() { return Index(blockIdx.x) * blockDim.y + threadIdx.y; }
__device__ inline Index row_step() { return Index(gridDim.x) * blockDim.y; }

// Blocks of single elements.
__device__ inline Index first_element() { return Index(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ inline Index element_step() { return Index(gridDim.x) * blockDim.x; }

// The sum over the threads of a block (of one dimension, a power of two): for all of them to call,
// for thread 0 to use. Halves are added to halves: the order hangs on the number of threads only.
__device__ inline Real block_sum(Real value) {
  __shared__ Real partial[THREADS];
  __syncthreads();      // the last sum is done
  partial[threadIdx.x] = value;
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) partial[threadIdx.x] += partial[threadIdx.x + half];
  }
  return partial[0];
}

// The image of the batch that a RoI names, or -1. The host cannot check RoIs without waiting for
// the GPU; so one that names no image pools NaN, which is seen, and gives no gradient.
__device__ inline Index image_of(const Real* roi, Index images) {
  return roi[0] > Real(-1) && roi[0] < Real(images) ? Index(roi[0]) : -1;
}

__device__ inline Real not_a_number() { return Real(nan("")); }

// The least finite number.
constexpr Real LOWEST = sizeof(Real) == sizeof(double) ? Real(-1.7976931348623157e308)
                                                       : Real(-3.4028234663852886e38);

}  // namespace region
