#pragma once

#include "caffe/common.hpp"

namespace caffe {

// Two memories, host and device, of which one at least is current. (The device's is the host's
// kind of memory here, but another piece of it: a forgotten copy shows.) Nothing is allocated for
// a blob that has never had an element, and asking for its memory is an error, as in Caffe.
template <typename Dtype>
class SyncedMemory {
 public:
  void resize(int count) {
    if (count <= int(host_.size())) return;
    host_.resize(count);
    device_.resize(count);
  }
  const Dtype* cpu_data() {
    CHECK(!host_.empty());
    if (head_ == DEVICE) host_ = device_, head_ = SYNCED;
    return host_.data();
  }
  const Dtype* gpu_data() {
    CHECK(!host_.empty());
    if (head_ == HOST) device_ = host_, head_ = SYNCED;
    return device_.data();
  }
  Dtype* mutable_cpu_data() { return cpu_data(), head_ = HOST, host_.data(); }
  Dtype* mutable_gpu_data() { return gpu_data(), head_ = DEVICE, device_.data(); }

 private:
  enum Head { HOST, DEVICE, SYNCED } head_ = SYNCED;
  vector<Dtype> host_, device_;
};

template <typename Dtype>
class Blob {
 public:
  void Reshape(const vector<int>& shape) {
    shape_ = shape;
    data_->resize(count());
    diff_->resize(count());
  }
  void Reshape(int num, int channels, int height, int width) {
    Reshape({num, channels, height, width});
  }
  void ReshapeLike(const Blob& other) { Reshape(other.shape()); }

  const vector<int>& shape() const { return shape_; }
  int shape(int axis) const { return shape_.at(axis); }
  int num_axes() const { return shape_.size(); }
  int count() const { return count(0); }
  int count(int start) const { return count(start, num_axes()); }
  int count(int start, int end) const {
    int count = 1;
    for (int axis = start; axis < end; ++axis) count *= shape(axis);
    return count;
  }
  int offset(int n, int c = 0) const { return (n * shape(1) + c) * count(2); }
  string shape_string() const {
    std::ostringstream text;
    for (int size : shape_) text << size << " ";
    text << "(" << count() << ")";
    return text.str();
  }

  const Dtype* cpu_data() const { return data_->cpu_data(); }
  const Dtype* gpu_data() const { return data_->gpu_data(); }
  const Dtype* cpu_diff() const { return diff_->cpu_data(); }
  const Dtype* gpu_diff() const { return diff_->gpu_data(); }
  Dtype* mutable_cpu_data() { return data_->mutable_cpu_data(); }
  Dtype* mutable_gpu_data() { return data_->mutable_gpu_data(); }
  Dtype* mutable_cpu_diff() { return diff_->mutable_cpu_data(); }
  Dtype* mutable_gpu_diff() { return diff_->mutable_gpu_data(); }

 private:
  vector<int> shape_;
  shared_ptr<SyncedMemory<Dtype> > data_ = std::make_shared<SyncedMemory<Dtype> >();
  shared_ptr<SyncedMemory<Dtype> > diff_ = std::make_shared<SyncedMemory<Dtype> >();
};

}  // namespace caffe
