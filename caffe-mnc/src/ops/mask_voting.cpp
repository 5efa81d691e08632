// Mask voting on the CPU: the members of a result are summed on an image that is 0 elsewhere.
#include <vector>

#include "cpu.hpp"
#include "mask_voting.hpp"

namespace region {
namespace {

// What a row of pixels takes from the two rows of the mask around it: for each pixel the samples to
// its left and right in both, and how far from the left one.
template <typename T> struct Strips {
  const T *above_left, *above_right, *below_left, *below_right, *dx;
};

template <typename T>
REGION_CLONES void add_blend(T* REGION_RESTRICT votes, Strips<T> from, T dy, T weight,
                             int64_t count) {
  for (int64_t x = 0; x < count; ++x)
    votes[x] += weight * blend_votes(dy, from.dx[x], from.above_left[x], from.above_right[x],
                                     from.below_left[x], from.below_right[x]);
}

template <typename T>
REGION_CLONES void add(T* REGION_RESTRICT votes, const T* from, T weight, int64_t count) {
  for (int64_t x = 0; x < count; ++x) votes[x] += weight * from[x];
}

struct Window { Pixels x, y; };

Pixels around(Pixels a, Pixels b) { return {std::min(a.start, b.start), std::max(a.end, b.end)}; }

template <typename T> class Canvas {
 public:
  Canvas(int height, int width, int side)
      : height_(height), width_(width), side_(side), votes_(int64_t(height) * width),
        dx_(width), left_(int64_t(side) * width), right_(int64_t(side) * width) {}

  void draw(const T* box, const T* mask, T weight) {
    const Window at = {covered_pixels(box[0], box[2], width_),
                       covered_pixels(box[1], box[3], height_)};
    if (at.x.start >= at.x.end || at.y.start >= at.y.end) return;
    used_ = {around(used_.x, at.x), around(used_.y, at.y)};
    const int64_t count = at.x.end - at.x.start, before_last = stretch(box, mask, at.x);
    for (int y = at.y.start; y < at.y.end; ++y) {
      const VotePoint<T> p = vote_point(place_on_mask(y, box[1], box[3], side_), side_);
      const int64_t blended = p.at_end ? 0 : before_last;
      const T *left = left_.data(), *right = right_.data();
      const int64_t above = p.low * count, below = p.high * count;
      T* votes = row(y) + at.x.start;
      add_blend<T>(votes, {left + above, right + above, left + below, right + below, dx_.data()},
                   p.fraction, weight, blended);
      add(votes + blended, left + above + blended, weight, count - blended);
    }
  }

  // The tight box of the votes above the threshold; the middle of the image if there are none.
  void find_box(T threshold, int32_t* box) const {
    int32_t x1 = width_, y1 = height_, x2 = -1, y2 = -1;
    const auto above = [=](T votes) { return votes > threshold; };
    // Pixels without a vote are above a threshold below 0.
    const Window seen = above(T(0)) ? Window{{0, width_}, {0, height_}} : used_;
    for (int y = seen.y.start; y < seen.y.end; ++y) {
      const T *first = row(y) + seen.x.start, *last = row(y) + seen.x.end;
      const T* found = std::find_if(first, last, above);
      if (found == last) continue;
      while (!above(last[-1])) --last;
      x1 = std::min<int32_t>(x1, found - row(y));
      x2 = std::max<int32_t>(x2, last - 1 - row(y));
      y1 = std::min(y1, y);
      y2 = y;
    }
    const int32_t none[4] = {width_ / 2, height_ / 2, width_ / 2, height_ / 2};
    const int32_t some[4] = {x1, y1, x2, y2};
    std::copy_n(x2 < 0 ? none : some, 4, box);
  }

  void read(const int32_t* box, T* mask) const {
    for (int p = 0; p < side_; ++p)
      for (int q = 0; q < side_; ++q)
        mask[p * side_ + q] = sample_votes(votes_.data(), height_, width_,
                                           place_on_image(p, T(box[1]), T(box[3]), side_),
                                           place_on_image(q, T(box[0]), T(box[2]), side_));
  }

  void clear() {
    for (int y = used_.y.start; y < used_.y.end; ++y)
      std::fill(row(y) + used_.x.start, row(y) + used_.x.end, T(0));
    used_ = nowhere();
  }

 private:
  // The rows of the mask at the columns of the window; how many columns lie before its last sample.
  int64_t stretch(const T* box, const T* mask, Pixels window) {
    const int64_t count = window.end - window.start;
    int64_t before_last = 0;
    for (int64_t x = 0; x < count; ++x) {
      const int pixel = window.start + int(x);
      const VotePoint<T> p = vote_point(place_on_mask(pixel, box[0], box[2], side_), side_);
      dx_[x] = p.fraction;
      if (!p.at_end) before_last = x + 1;
      for (int i = 0; i < side_; ++i) {
        left_[i * count + x] = mask[i * side_ + p.low];
        right_[i * count + x] = mask[i * side_ + p.high];
      }
    }
    return before_last;
  }

  T* row(int y) { return votes_.data() + int64_t(y) * width_; }
  const T* row(int y) const { return votes_.data() + int64_t(y) * width_; }
  Window nowhere() const { return {{width_, 0}, {height_, 0}}; }

  const int height_, width_, side_;
  std::vector<T> votes_;            // (height, width), 0 outside the window in use
  Window used_ = nowhere();
  std::vector<T> dx_;               // (width), of the columns of the mask being drawn
  std::vector<T> left_, right_;     // (side, width), its rows at those columns
};

}  // namespace

void mask_voting(bool wide, const void* boxes, const void* masks, const int64_t* inds,
                 const int64_t* ends, const void* weights, int64_t results, int64_t side,
                 int64_t height, int64_t width, double threshold, void* out_masks,
                 int32_t* out_boxes, int threads) {
  in_precision(wide, [&](auto zero) {
    using T = decltype(zero);
    const T *all = static_cast<const T*>(boxes), *drawn = static_cast<const T*>(masks);
    const T* share = static_cast<const T*>(weights);
    T* to = static_cast<T*>(out_masks);
    const int64_t painters = std::min<int64_t>(threads, results);
    std::vector<Canvas<T>> canvases(painters, Canvas<T>(height, width, side));
#pragma omp parallel for num_threads(threads)
    for (int64_t painter = 0; painter < painters; ++painter) {
      Canvas<T>& canvas = canvases[painter];
      for (int64_t k = painter; k < results; k += painters) {
        for (int64_t m = k ? ends[k - 1] : 0; m < ends[k]; ++m)
          canvas.draw(all + 4 * inds[m], drawn + inds[m] * side * side, share[m]);
        canvas.find_box(T(threshold), out_boxes + 4 * k);
        canvas.read(out_boxes + 4 * k, to + k * side * side);
        canvas.clear();
      }
    }
  });
}

}  // namespace region
