// For the kernels on the CPU: the two precisions, instruction sets, shares of the threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels.hpp"

// REGION_CLONES: a function that is compiled for several instruction sets, of which the loader
// takes the best that the processor has. Not for a function with an OpenMP loop inside: its body
// would not be among the copies. REGION_INLINE: what such a function calls, to become part of it.
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(REGION_PLAIN)
#define REGION_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define REGION_CLONES
#endif
#if defined(__GNUC__)
#define REGION_INLINE inline __attribute__((always_inline))
#define REGION_RESTRICT __restrict__
#else
#define REGION_INLINE inline
#define REGION_RESTRICT __restrict
#endif

namespace region {

// Call `body` with a zero of the precision it is to compute in.
template <typename Body> void in_precision(bool wide, Body body) {
  if (wide)
    body(double(0));
  else
    body(float(0));
}

// --- what maps are stored in, where that is not what is computed in

struct BFloat16 { uint16_t bits; };       // the upper half of a float

REGION_INLINE float loaded(float value) { return value; }
REGION_INLINE double loaded(double value) { return value; }
REGION_INLINE float loaded(BFloat16 value) {
  const uint32_t bits = uint32_t(value.bits) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

REGION_INLINE void store(float value, float& to) { to = value; }
REGION_INLINE void store(double value, double& to) { to = value; }
REGION_INLINE void store(float value, BFloat16& to) {     // to the nearest, ties to even
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const uint32_t nearest = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  to.bits = uint16_t((bits & 0x7fffffff) > 0x7f800000 ? (bits >> 16) | 0x40 : nearest);   // NaN
}

// Call `body` with a zero of what maps hold, and one of what is computed in.
template <typename Body> void in_storage(Storage storage, Body body) {
  switch (storage) {
    case Storage::FLOAT: return body(float(0), float(0));
    case Storage::DOUBLE: return body(double(0), double(0));
    case Storage::BFLOAT16: return body(BFloat16{0}, float(0));
  }
}

// How many channels a thread takes where each has channels of its own: whole cache lines.
inline int64_t channels_each(int64_t channels, int threads) {
  constexpr int64_t LINE = 16;
  return std::max((channels / threads + LINE - 1) / LINE, int64_t(1)) * LINE;
}

// Sixteen sums side by side, joined in a fixed order: the same on every instruction set.
template <typename T> REGION_INLINE T dot(const T* a, const T* b, int64_t count) {
  constexpr int LANES = 16;
  T sums[LANES] = {};
  int64_t c = 0;
  for (; c + LANES <= count; c += LANES)
    for (int i = 0; i < LANES; ++i) sums[i] += a[c + i] * b[c + i];
  for (int i = 0; c < count; ++c, ++i) sums[i] += a[c] * b[c];
  for (int half = LANES / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) sums[i] += sums[half + i];
  return sums[0];
}

}  // namespace region
