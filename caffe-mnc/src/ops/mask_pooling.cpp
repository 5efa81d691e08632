// Mask pooling on the CPU: a row of channels times one number.
#include "cpu.hpp"

namespace region {
namespace {

REGION_CLONES void scale_row(const float* row, float by, float* to, int64_t channels) {
  for (int64_t c = 0; c < channels; ++c) to[c] = row[c] * by;
}
REGION_CLONES void scale_row(const double* row, double by, double* to, int64_t channels) {
  for (int64_t c = 0; c < channels; ++c) to[c] = row[c] * by;
}

// Sixteen sums side by side, joined in a fixed order.
constexpr int LANES = 16;

template <typename T> inline T dot_of(const T* a, const T* b, int64_t channels) {
  T sums[LANES] = {};
  int64_t c = 0;
  for (; c + LANES <= channels; c += LANES)
    for (int i = 0; i < LANES; ++i) sums[i] += a[c + i] * b[c + i];
  for (int i = 0; c < channels; ++c, ++i) sums[i] += a[c] * b[c];
  T sum = 0;
  for (int i = 0; i < LANES; ++i) sum += sums[i];
  return sum;
}

REGION_CLONES float dot(const float* a, const float* b, int64_t channels) {
  return dot_of(a, b, channels);
}
REGION_CLONES double dot(const double* a, const double* b, int64_t channels) {
  return dot_of(a, b, channels);
}

}  // namespace

void mask_pooling(bool wide, const void* features, const void* mask, void* top, int64_t pixels,
                  int64_t channels, int threads) {
  in_precision(wide, [&](auto zero) {
    using T = decltype(zero);
    const T *from = static_cast<const T*>(features), *by = static_cast<const T*>(mask);
    T* to = static_cast<T*>(top);
#pragma omp parallel for num_threads(threads)
    for (int64_t p = 0; p < pixels; ++p)
      scale_row(from + p * channels, by[p], to + p * channels, channels);
  });
}

void mask_pooling_backward_mask(bool wide, const void* grad, const void* features, void* d_mask,
                                int64_t pixels, int64_t channels, int threads) {
  in_precision(wide, [&](auto zero) {
    using T = decltype(zero);
    const T *g = static_cast<const T*>(grad), *f = static_cast<const T*>(features);
    T* to = static_cast<T*>(d_mask);
#pragma omp parallel for num_threads(threads)
    for (int64_t p = 0; p < pixels; ++p)
      to[p] = dot(g + p * channels, f + p * channels, channels);
  });
}

}  // namespace region
