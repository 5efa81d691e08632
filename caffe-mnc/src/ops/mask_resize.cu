// Mask resizing on the GPU.
#include "gpu.hpp"
#include "mask_resize.hpp"

namespace region {
namespace {

// Outputs [first, end) of an axis that may hand a pixel gradient: their points are less than a
// pixel away. One more on either side makes up for rounding; their weight decides.
struct Outputs { int first, end; };

__device__ Outputs outputs_near(int pixel, int size, int outputs) {
  const Real ratio = Real(size) / Real(outputs);
  return {to_index(floor(Real(pixel - 1) / ratio) - Real(1), outputs),
          to_index(ceil(Real(pixel + 1) / ratio) + Real(2), outputs)};
}

__device__ Real adjoint_weight(const ResizeSample<Real>& s, int pixel) {
  return (s.pixel[0] == pixel ? s.adjoint[0] : Real(0)) +
         (s.pixel[1] == pixel ? s.adjoint[1] : Real(0));
}

}  // namespace

// x (planes, h, w) -> top (planes, height, width). Grid: a thread an element of top.
extern "C" __global__ void mask_resize(const Real* x, Real* top, Index planes, Index h, Index w,
                                       Index height, Index width) {
  for (Index n = first_element(); n < planes * height * width; n += element_step()) {
    const Index row = n / width;
    const auto y_sample = resize_sample<Real>(int(h), int(height), int(row % height), EXACT);
    const auto x_sample = resize_sample<Real>(int(w), int(width), int(n % width), EXACT);
    const Real* plane = x + row / height * h * w;
    Real sum = 0;
    for (int a = 0; a < 2; ++a)
      for (int b = 0; b < 2; ++b)
        sum += plane[y_sample.pixel[a] * w + x_sample.pixel[b]] *
               (y_sample.weight[a] * x_sample.weight[b]);
    top[n] = sum;
  }
}

// grad (planes, height, width) -> d_x (planes, h, w). Grid: a thread an element of d_x, which sums
// what it hears in row-major order.
extern "C" __global__ void mask_resize_backward(const Real* grad, Real* d_x, Index planes, Index h,
                                                Index w, Index height, Index width, Index mode) {
  for (Index n = first_element(); n < planes * h * w; n += element_step()) {
    const Index row = n / w;
    const int i = int(row % h), j = int(n % w);
    const Outputs rows = outputs_near(i, int(h), int(height));
    const Outputs columns = outputs_near(j, int(w), int(width));
    const Real* plane = grad + row / h * height * width;
    Real sum = 0;
    for (int p = rows.first; p < rows.end; ++p) {
      const Real along_y =
          adjoint_weight(resize_sample<Real>(int(h), int(height), p, int(mode)), i);
      if (along_y == Real(0)) continue;
      for (int q = columns.first; q < columns.end; ++q)
        sum += plane[p * width + q] * (along_y * adjoint_weight(
            resize_sample<Real>(int(w), int(width), q, int(mode)), j));
    }
    d_x[n] = sum;
  }
}

}  // namespace region
