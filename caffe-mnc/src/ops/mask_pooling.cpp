// Mask pooling on the CPU: a row of channels times one number.
#include "cpu.hpp"

namespace region {
namespace {

template <typename S, typename T>
REGION_CLONES void scale_row(const S* row, T by, S* REGION_RESTRICT to, int64_t channels) {
  for (int64_t c = 0; c < channels; ++c) store(loaded(row[c]) * by, to[c]);
}

// Two lines of pixels, and of a mask -> the maxima over 2 x 2 of their products; NaN is the greatest.
template <typename S, typename T>
REGION_CLONES void pooled_line(const S* rows, const T* by, S* REGION_RESTRICT to, int64_t width,
                               int64_t channels) {
  for (int64_t q = 0; q < width; ++q, to += channels)
    for (int64_t c = 0; c < channels; ++c) {
      T best = loaded(rows[2 * q * channels + c]) * by[2 * q];
      for (int64_t pixel : {2 * q + 1, 2 * width + 2 * q, 2 * width + 2 * q + 1}) {
        const T value = loaded(rows[pixel * channels + c]) * by[pixel];
        best = value > best || value != value ? value : best;
      }
      store(best, to[c]);
    }
}

template <typename T> REGION_CLONES T dot_row(const T* a, const T* b, int64_t channels) {
  return dot(a, b, channels);
}

}  // namespace

void mask_pooling(Storage storage, const void* features, const void* mask, void* top,
                  int64_t pixels, int64_t channels, int threads) {
  in_storage(storage, [&](auto stored, auto zero) {
    using S = decltype(stored);
    using T = decltype(zero);
    const S* from = static_cast<const S*>(features);
    const T* by = static_cast<const T*>(mask);
    S* to = static_cast<S*>(top);
#pragma omp parallel for num_threads(threads)
    for (int64_t p = 0; p < pixels; ++p)
      scale_row(from + p * channels, by[p], to + p * channels, channels);
  });
}

void mask_pooling_pooled(Storage storage, const void* features, const void* mask, void* top,
                         int64_t images, int64_t height, int64_t width, int64_t channels,
                         int threads) {
  in_storage(storage, [&](auto stored, auto zero) {
    using S = decltype(stored);
    using T = decltype(zero);
    const S* from = static_cast<const S*>(features);
    const T* by = static_cast<const T*>(mask);
    S* to = static_cast<S*>(top);
#pragma omp parallel for num_threads(threads)
    for (int64_t line = 0; line < images * height; ++line)
      pooled_line(from + 4 * line * width * channels, by + 4 * line * width,
                  to + line * width * channels, width, channels);
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
