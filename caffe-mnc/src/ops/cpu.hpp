// For the kernels on the CPU: the two precisions, instruction sets, loops over threads.
#pragma once

#include "kernels.hpp"

// A function that is compiled for several instruction sets; the loader takes the best there is.
// (Not for a function with an OpenMP loop inside: its body would not be among the copies.)
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(REGION_PLAIN)
#define REGION_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define REGION_CLONES
#endif

namespace region {

// Call `body` with a zero of the precision it is to compute in.
template <typename Body> void in_precision(bool wide, Body body) {
  if (wide)
    body(double(0));
  else
    body(float(0));
}

}  // namespace region
