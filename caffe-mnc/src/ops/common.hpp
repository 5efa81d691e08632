// What every operator's arithmetic needs, on the host and on the device alike.
#pragma once

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#define REGION_FN __host__ __device__ inline
#else
#include <cmath>
#define REGION_FN inline
#endif

namespace region {

#if !defined(__CUDACC__) && !defined(__CUDACC_RTC__)
using std::ceil;
using std::floor;
using std::trunc;
#endif

// REFERENCE is the arithmetic of the public MNC code, EXACT that of the paper.
enum Mode { REFERENCE = 0, EXACT = 1 };

template <typename T> REGION_FN T least(T a, T b) { return b < a ? b : a; }
template <typename T> REGION_FN T greatest(T a, T b) { return a < b ? b : a; }

// A float as an index from 0 to `last`; NaN gives 0, so that no index leaves its array.
template <typename T> REGION_FN int to_index(T value, int last) {
  if (!(value > T(0))) return 0;
  return value < T(last) ? int(value) : last;
}

// Half away from zero, as C's round.
template <typename T> REGION_FN T round_half_away(T value) {
  const T whole = trunc(value), rest = value - whole;
  if (rest >= T(0.5)) return whole + T(1);
  if (rest <= T(-0.5)) return whole - T(1);
  return whole;
}

template <typename T> struct Corners { T x1, y1, x2, y2; };

// roi = (n, x1, y1, x2, y2) in image pixels -> corners on the map.
template <typename T> REGION_FN Corners<T> scaled_corners(const T* roi, T scale) {
  return {roi[1] * scale, roi[2] * scale, roi[3] * scale, roi[4] * scale};
}

template <typename T> REGION_FN Corners<T> rounded_corners(const T* roi, T scale) {
  const Corners<T> c = scaled_corners(roi, scale);
  return {round_half_away(c.x1), round_half_away(c.y1), round_half_away(c.x2),
          round_half_away(c.y2)};
}

}  // namespace region
