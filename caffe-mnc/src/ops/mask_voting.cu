// Mask voting on the GPU. No image is written: the votes for a pixel are a function, summed member
// by member in their order wherever they are asked for.
#include "gpu.hpp"
#include "mask_voting.hpp"

namespace region {
namespace {

// inds[start] .. inds[end - 1] are the members of one result.
struct Members { Index start, end; };

__device__ Members members_of(const Index* ends, Index result) {
  return {result ? ends[result - 1] : 0, ends[result]};
}

struct Votes {
  const Real *boxes, *masks;
  const Index* inds;
  const Real* weights;
  Members members;
  int side;

  __device__ Real operator()(int y, int x) const {
    Real sum = 0;
    for (Index m = members.start; m < members.end; ++m) {
      const Real* box = boxes + 4 * inds[m];
      if (!(Real(x) >= box[0] && Real(y) >= box[1] && Real(x) <= box[2] && Real(y) <= box[3]))
        continue;
      sum += weights[m] * sample_votes(masks + inds[m] * side * side, side, side,
                                       place_on_mask(y, box[1], box[3], side),
                                       place_on_mask(x, box[0], box[2], side));
    }
    return sum;
  }
};

}  // namespace

// tight (results, 4) as x1, y1, x2, y2: at first (width, height, -1, -1), at the end around the
// votes above the threshold. Minima and maxima are the same in whatever order they are taken.
// Grid: (results, rows of the image). A block looks at its row where members are.
extern "C" __global__ void mask_voting_boxes(const Real* boxes, const Real* masks,
                                             const Index* inds, const Index* ends,
                                             const Real* weights, Index results, Index side,
                                             Index height, Index width, double threshold,
                                             int* tight) {
  __shared__ int first, end, left, right;
  for (Index k = blockIdx.x; k < results; k += gridDim.x)
    for (int y = blockIdx.y; y < int(height); y += gridDim.y) {
      const Members members = members_of(ends, k);
      const Votes votes = {boxes, masks, inds, weights, members, int(side)};
      // Pixels without a vote are above a threshold below 0.
      const bool everywhere = Real(0) > Real(threshold);
      if (threadIdx.x == 0) {
        first = everywhere ? 0 : int(width);
        end = everywhere ? int(width) : 0;
        left = int(width);
        right = -1;
      }
      __syncthreads();
      for (Index m = members.start + threadIdx.x; m < members.end; m += blockDim.x) {
        const Real* box = boxes + 4 * inds[m];
        const Pixels columns = covered_pixels(box[0], box[2], int(width));
        if (!(Real(y) >= box[1] && Real(y) <= box[3]) || columns.start >= columns.end) continue;
        atomicMin(&first, columns.start);
        atomicMax(&end, columns.end);
      }
      __syncthreads();
      for (int x = first + int(threadIdx.x); x < end; x += int(blockDim.x))
        if (votes(y, x) > Real(threshold)) {
          atomicMin(&left, x);
          atomicMax(&right, x);
        }
      __syncthreads();
      if (threadIdx.x == 0 && right >= 0) {
        atomicMin(&tight[4 * k], left);
        atomicMin(&tight[4 * k + 1], y);
        atomicMax(&tight[4 * k + 2], right);
        atomicMax(&tight[4 * k + 3], y);
      }
    }
}

// out_masks (results, side, side), out_boxes (results, 4): tight, or the middle of the image if
// nothing was found. Grid: a thread a sample of out_masks.
extern "C" __global__ void mask_voting_masks(const Real* boxes, const Real* masks,
                                             const Index* inds, const Index* ends,
                                             const Real* weights, const int* tight, Index results,
                                             Index side, Index height, Index width,
                                             Real* out_masks, int* out_boxes) {
  for (Index n = first_element(); n < results * side * side; n += element_step()) {
    const Index row = n / side, k = row / side;
    const int p = int(row % side), q = int(n % side);
    const int none[4] = {int(width) / 2, int(height) / 2, int(width) / 2, int(height) / 2};
    const int* box = tight[4 * k + 2] < 0 ? none : tight + 4 * k;
    const Votes votes = {boxes, masks, inds, weights, members_of(ends, k), int(side)};
    const VotePoint<Real> i = vote_point(
        place_on_image(p, Real(box[1]), Real(box[3]), int(side)), int(height));
    const VotePoint<Real> j = vote_point(
        place_on_image(q, Real(box[0]), Real(box[2]), int(side)), int(width));
    out_masks[n] = i.at_end || j.at_end
        ? votes(i.low, j.low)
        : blend_votes(i.fraction, j.fraction, votes(i.low, j.low), votes(i.low, j.high),
                      votes(i.high, j.low), votes(i.high, j.high));
    if (p == 0 && q == 0)
      for (int c = 0; c < 4; ++c) out_boxes[4 * k + c] = box[c];
  }
}

}  // namespace region
