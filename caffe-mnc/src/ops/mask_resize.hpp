// Mask resizing: output k of an axis, what it reads and what gradient it hands back.
#pragma once

#include "bilinear.hpp"

namespace region {

template <typename T> struct ResizeSample {
  int pixel[2];
  T weight[2];      // forward
  T adjoint[2];     // gradient
};

template <typename T> REGION_FN ResizeSample<T> resize_sample(int size, int outputs, int k,
                                                              int mode) {
  const T ratio = T(size) / T(outputs), point = T(k) * ratio;
  const Taps<T> taps = clamped_taps(point, size);
  ResizeSample<T> s;
  for (int a = 0; a < 2; ++a) {
    const T pixel = T(taps.pixel[a]), heard = floor(pixel / ratio), distance = point - pixel;
    const bool near = (T(k) == heard || T(k) == heard + T(1)) && distance < T(1) &&
                      distance > T(-1);
    s.pixel[a] = taps.pixel[a];
    s.weight[a] = taps.weight[a];
    s.adjoint[a] = mode == EXACT || near ? taps.weight[a] : T(0);
  }
  return s;
}

}  // namespace region
