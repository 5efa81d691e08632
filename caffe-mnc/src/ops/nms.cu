// Non-maximum suppression on the GPU, slab by slab of boxes, best first: nms_overlaps finds which
// later boxes each box of the slab is too near to, nms_scan keeps and drops. Bits and indices only:
// both give the same result in whatever order their threads run.
#include "boxes.hpp"
#include "gpu.hpp"

namespace region {

using Word = unsigned long long;
constexpr int BITS = 64;        // boxes a word
constexpr Word ONE = 1;

// overlaps (rows, words): bit b of word w of a row is set if box w * BITS + b is too near to the
// row's box. Words before the row's own are not written.
// Grid: (words, blocks of rows), BITS threads, each with a row and one word of it.
extern "C" __global__ void nms_overlaps(const Real* boxes, Index count, Index first, Index rows,
                                        double thresh, Index inclusive, Index limit,
                                        const Index* found, Word* overlaps) {
  __shared__ Real others[4 * BITS];
  const Index words = (count + BITS - 1) / BITS, word = blockIdx.x;
  const Index row = Index(blockIdx.y) * BITS + threadIdx.x, box = first + row;
  const bool enough = limit > 0 && *found >= limit;
  if (enough || word < (first + Index(blockIdx.y) * BITS) / BITS) return;     // the whole block
  const Index other = word * BITS + threadIdx.x;
  for (int c = 0; c < 4 && other < count; ++c)
    others[4 * threadIdx.x + c] = boxes[4 * other + c];
  __syncthreads();
  if (row >= rows) return;
  Word near = 0;
  for (int b = 0; b < BITS && word * BITS + b < count; ++b) {
    const Real overlap = iou(boxes + 4 * box, others + 4 * b);
    if (inclusive ? overlap >= Real(thresh) : overlap > Real(thresh)) near |= ONE << b;
  }
  overlaps[row * words + word] = near;
}

// dropped (words) and found (1), 0 at first, go from slab to slab; kept receives the boxes that
// stay. Grid: one block. Its first thread goes through a word of boxes; then all threads drop what
// those that stay are too near to, each in its own words.
extern "C" __global__ void nms_scan(const Word* overlaps, Index count, Index first, Index rows,
                                    Index limit, Word* dropped, Index* kept, Index* found) {
  __shared__ Word nearby[BITS], staying;
  const Index words = (count + BITS - 1) / BITS;
  for (Index start = 0; start < rows; start += BITS) {
    const Index word = (first + start) / BITS;
    const int many = int(least<Index>(BITS, rows - start));
    for (int i = threadIdx.x; i < many; i += blockDim.x)
      nearby[i] = overlaps[(start + i) * words + word];
    __syncthreads();
    if (threadIdx.x == 0) {
      Word gone = dropped[word], stay = 0;
      Index n = *found;
      for (int i = 0; i < many && !(limit > 0 && n >= limit); ++i) {
        if (gone >> i & ONE) continue;
        kept[n++] = first + start + i;
        stay |= ONE << i;
        gone |= nearby[i];
      }
      *found = n;
      staying = stay;
    }
    __syncthreads();
    for (Index later = word + 1 + threadIdx.x; staying && later < words; later += blockDim.x) {
      Word gone = dropped[later];
      for (int i = 0; i < many; ++i)
        if (staying >> i & ONE) gone |= overlaps[(start + i) * words + later];
      dropped[later] = gone;
    }
  }
}

}  // namespace region
