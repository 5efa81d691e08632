// Mask resizing on the CPU.
#include <vector>

#include "cpu.hpp"
#include "mask_resize.hpp"

namespace region {
namespace {

template <typename T> std::vector<ResizeSample<T>> samples(int64_t size, int64_t outputs,
                                                           int mode) {
  std::vector<ResizeSample<T>> all(outputs);
  for (int64_t k = 0; k < outputs; ++k) all[k] = resize_sample<T>(size, outputs, k, mode);
  return all;
}

// Spread a row of gradient over the columns that it was sampled from: `line`, zeros before.
template <typename T>
void spread(const T* grad, const std::vector<ResizeSample<T>>& columns, std::vector<T>& line) {
  std::fill(line.begin(), line.end(), T(0));
  for (const ResizeSample<T>& c : columns) {
    line[c.pixel[0]] += *grad * c.adjoint[0];
    line[c.pixel[1]] += *grad++ * c.adjoint[1];
  }
}

}  // namespace

void mask_resize(bool wide, const void* x, void* top, int64_t planes, int64_t h, int64_t w,
                 int64_t height, int64_t width, int threads) {
  in_precision(wide, [&](auto zero) {
    using T = decltype(zero);
    const T* from = static_cast<const T*>(x);
    T* to = static_cast<T*>(top);
    const auto rows = samples<T>(h, height, EXACT), columns = samples<T>(w, width, EXACT);
#pragma omp parallel for collapse(2) num_threads(threads)
    for (int64_t n = 0; n < planes; ++n)
      for (int64_t p = 0; p < height; ++p)
        for (int64_t q = 0; q < width; ++q) {
          T sum = 0;
          for (int a = 0; a < 2; ++a)
            for (int b = 0; b < 2; ++b)
              sum += from[(n * h + rows[p].pixel[a]) * w + columns[q].pixel[b]] *
                     (rows[p].weight[a] * columns[q].weight[b]);
          to[(n * height + p) * width + q] = sum;
        }
  });
}

void mask_resize_backward(bool wide, const void* grad, void* d_x, int64_t planes, int64_t h,
                          int64_t w, int64_t height, int64_t width, int mode, int threads) {
  in_precision(wide, [&](auto zero) {
    using T = decltype(zero);
    const T* from = static_cast<const T*>(grad);
    T* to = static_cast<T*>(d_x);
    const auto rows = samples<T>(h, height, mode), columns = samples<T>(w, width, mode);
    std::vector<std::vector<T>> lines(threads, std::vector<T>(w));
#pragma omp parallel for num_threads(threads)
    for (int t = 0; t < threads; ++t) {
      std::vector<T>& line = lines[t];
      for (int64_t n = t; n < planes; n += threads) {
        T* plane = to + n * h * w;
        std::fill(plane, plane + h * w, T(0));
        for (int64_t p = 0; p < height; ++p) {
          spread(from + (n * height + p) * width, columns, line);
          for (int a = 0; a < 2; ++a)
            for (int64_t j = 0; j < w; ++j)
              plane[rows[p].pixel[a] * w + j] += line[j] * rows[p].adjoint[a];
        }
      }
    }
  });
}

}  // namespace region
