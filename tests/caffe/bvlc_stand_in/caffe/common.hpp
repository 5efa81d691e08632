// A stand-in for Caffe's headers: as much of its interface as caffe-mnc/bvlc uses, so that those
// layers compile and run without Caffe. What ends a Caffe process is an exception here.
#pragma once

#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "caffe/util/device_alternate.hpp"

namespace stand_in {

struct Fatal {
  explicit Fatal(const char* condition) { text << "Check failed: " << condition << " "; }
  ~Fatal() noexcept(false) { throw std::runtime_error(text.str()); }
  std::ostream& stream() { return text; }
  std::ostringstream text;
};

struct Voided {
  void operator&(std::ostream&) const {}
};

}  // namespace stand_in

#define CHECK(condition) \
  (condition) ? (void)0 : stand_in::Voided() & stand_in::Fatal(#condition).stream()
#define CHECK_EQ(a, b) CHECK((a) == (b))
#define CHECK_NE(a, b) CHECK((a) != (b))
#define CHECK_GT(a, b) CHECK((a) > (b))

#define INSTANTIATE_CLASS(name) \
  template class name<float>; \
  template class name<double>

#define INSTANTIATE_LAYER_GPU_FUNCS_OF(name, type) \
  template void name<type>::Forward_gpu(const std::vector<Blob<type>*>&, \
                                        const std::vector<Blob<type>*>&); \
  template void name<type>::Backward_gpu(const std::vector<Blob<type>*>&, \
                                         const std::vector<bool>&, \
                                         const std::vector<Blob<type>*>&)
#define INSTANTIATE_LAYER_GPU_FUNCS(name) \
  INSTANTIATE_LAYER_GPU_FUNCS_OF(name, float); \
  INSTANTIATE_LAYER_GPU_FUNCS_OF(name, double)

namespace caffe {

using std::shared_ptr;
using std::string;
using std::vector;

struct Caffe {
  enum Brew { CPU, GPU };
  static Brew& mode() {
    static Brew mode = CPU;
    return mode;
  }
};

}  // namespace caffe
