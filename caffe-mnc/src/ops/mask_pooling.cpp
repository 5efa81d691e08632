// Mask pooling on the CPU: a row of channels times one number.
#include "cpu.hpp"

namespace region {
namespace {

template <typename T>
REGION_CLONES void scale_row(const T* row, T by, T* REGION_RESTRICT to, int64_t channels) {
  for (int64_t c = 0; c < channels; ++c) to[c] = row[c] * by;
}

template <typename T> REGION_CLONES T dot_row(const T* a, const T* b, int64_t channels) {
  return dot(a, b, channels);
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
      to[p] = dot_row(g + p * channels, f + p * channels, channels);
  });
}

}  // namespace region
