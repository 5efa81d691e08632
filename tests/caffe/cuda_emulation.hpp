// Runs CUDA kernels on the CPU, for tests: a .cu file is compiled as C++ with this header in front,
// EMULATED(kernel) for each kernel at its end, and cuda_emulation.cpp beside it.
//
// The threads of a block are fibers that take turns: each runs until it ends or waits at
// __syncthreads, then the next one goes. Blocks run one after the other. Threads and blocks go
// forwards or backwards, as asked: a kernel that lacks a barrier, or whose result hangs on an order
// it has no right to, gives two results.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __shared__ static       // one block runs at a time

struct Dimensions { unsigned x, y, z; };
extern Dimensions threadIdx, blockIdx, blockDim, gridDim;

void __syncthreads();

template <typename T> T atomicAdd(T* at, T value) { return std::exchange(*at, *at + value); }
template <typename T> T atomicMin(T* at, T value) {
  return std::exchange(*at, value < *at ? value : *at);
}
template <typename T> T atomicMax(T* at, T value) {
  return std::exchange(*at, *at < value ? value : *at);
}

namespace emulation {

struct Launch {
  Dimensions grid, block;
  bool backwards;
};

enum Outcome { DONE = 0, WRONG_ARGUMENTS = 1, BARRIER_NOT_MET_BY_ALL = 2 };

// Calls body(data) in every thread of every block.
Outcome run(const Launch& launch, void (*body)(const void*), const void* data);

template <typename A> A argument(int64_t bits) {
  static_assert(sizeof(A) == sizeof(bits), "kernels take 8 bytes an argument");
  A value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

template <typename... A> struct Call {
  void (*kernel)(A...);
  const int64_t* bits;

  template <size_t... I> void run(std::index_sequence<I...>) const {
    kernel(argument<A>(bits[I])...);
  }
  static void body(const void* call) {
    static_cast<const Call*>(call)->run(std::index_sequence_for<A...>());
  }
};

template <typename... A>
Outcome run_kernel(void (*kernel)(A...), const Launch& launch, const int64_t* bits, int count) {
  if (count != sizeof...(A)) return WRONG_ARGUMENTS;
  const Call<A...> call = {kernel, bits};
  return run(launch, call.body, &call);
}

}  // namespace emulation

// grid and block: 3 sizes each; bits: `count` arguments of 8 bytes.
#define EMULATED(kernel)                                                                         \
  extern "C" int run_##kernel(const unsigned* grid, const unsigned* block, const int64_t* bits,  \
                              int count, int backwards) {                                        \
    const emulation::Launch launch = {{grid[0], grid[1], grid[2]},                               \
                                      {block[0], block[1], block[2]}, backwards != 0};           \
    return emulation::run_kernel(kernel, launch, bits, count);                                   \
  }
