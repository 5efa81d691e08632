// Intersection over union on the GPU, each with each: of boxes, and of masks cropped to boxes.
#include "boxes.hpp"
#include "gpu.hpp"

namespace region {
namespace {

using Byte = unsigned char;

__device__ Index width_of(const Index* box) { return box[2] - box[0] + 1; }

}  // namespace

// result (n, k). Grid: a thread a pair.
extern "C" __global__ void box_overlaps(const Real* boxes, const Real* query, Real* result,
                                        Index n, Index k) {
  for (Index pair = first_element(); pair < n * k; pair += element_step())
    result[pair] = iou_or_zero(boxes + 4 * (pair / k), query + 4 * (pair % k));
}

// set (count): how many bytes of each mask are not 0. Grid: a block of one dimension a mask. Whole
// numbers are added, so the order does not matter.
extern "C" __global__ void mask_areas(const Index* boxes, const Byte* masks, const Index* offsets,
                                      Index count, int* set) {
  __shared__ int sum;
  for (Index i = blockIdx.x; i < count; i += gridDim.x) {
    const Index* box = boxes + 4 * i;
    const bool inverted = box[2] < box[0] || box[3] < box[1];
    const Index pixels = inverted ? 0 : width_of(box) * (box[3] - box[1] + 1);
    if (threadIdx.x == 0) sum = 0;
    __syncthreads();
    int mine = 0;
    for (Index p = threadIdx.x; p < pixels; p += blockDim.x) mine += masks[offsets[i] + p] != 0;
    atomicAdd(&sum, mine);
    __syncthreads();
    if (threadIdx.x == 0) set[i] = sum;
  }
}

// result (n, k), doubles. Grid: a block of one dimension a pair, its threads on the pixels that
// both boxes cover. Whole numbers are added, so the order does not matter.
extern "C" __global__ void mask_overlaps(const Index* boxes, const Byte* masks,
                                         const Index* offsets, const int* set, const Index* query,
                                         const Byte* query_masks, const Index* query_offsets,
                                         const int* query_set, double* result, Index n, Index k) {
  __shared__ int sum;
  for (Index pair = blockIdx.x; pair < n * k; pair += gridDim.x) {
    const Index i = pair / k, j = pair % k;
    const Index *a = boxes + 4 * i, *b = query + 4 * j;
    const Index x1 = greatest(a[0], b[0]), x2 = least(a[2], b[2]);
    const Index y1 = greatest(a[1], b[1]), y2 = least(a[3], b[3]);
    const Index width = x2 - x1 + 1, height = y2 - y1 + 1;
    const Byte *of_a = masks + offsets[i], *of_b = query_masks + query_offsets[j];
    if (threadIdx.x == 0) sum = 0;
    __syncthreads();
    int mine = 0;
    for (Index p = threadIdx.x; width > 0 && height > 0 && p < width * height; p += blockDim.x) {
      const Index y = y1 + p / width, x = x1 + p % width;
      mine += of_a[(y - a[1]) * width_of(a) + x - a[0]] != 0 &&
              of_b[(y - b[1]) * width_of(b) + x - b[0]] != 0;
    }
    atomicAdd(&sum, mine);
    __syncthreads();
    if (threadIdx.x == 0)
      result[pair] = sum ? double(sum) / double(set[i] + query_set[j] - sum) : 0.0;
  }
}

}  // namespace region
