// The kernels for the CPU, as the binding (caffe/ops/_native.pyx) calls them.
//
// Every array is contiguous and holds doubles if `wide`, else floats; with a Storage, maps and what is
// made of them hold that, and RoIs and masks doubles beside doubles, else floats. Maps are channels-last,
// (N, H, W, C), and so are pooled RoIs, (R, P, Q, C). RoIs are (R, 5), their image index already
// checked. Results are written in full and do not depend on `threads`.
#pragma once

#include <cstdint>

namespace region {

enum class Storage : int { FLOAT = 0, DOUBLE = 1, BFLOAT16 = 2 };    // computed in float, the last

struct Map { int64_t images, channels, height, width; };
struct Pooling { int64_t rois, height, width; double scale; };      // scale: image to map

// --- roi_warping.cpp
void roi_warping(Storage storage, const void* features, const void* rois, void* top, Map map,
                 Pooling pooling, int mode, int threads);
// The maximum over each 2 x 2 of a warping to (2 height, 2 width), which is never written.
void roi_warping_pooled(Storage storage, const void* features, const void* rois, void* top, Map map,
                        Pooling pooling, int mode, int threads);
void roi_warping_backward_features(bool wide, const void* grad, const void* rois, void* d_features,
                                   Map map, Pooling pooling, int mode, int threads);
void roi_warping_backward_rois(bool wide, const void* grad, const void* features, const void* rois,
                               void* d_rois, Map map, Pooling pooling, int mode, int threads);

// --- roi_pooling.cpp; where: h * W + w of each maximum, -1 in an empty bin
void roi_pooling(Storage storage, const void* features, const void* rois, void* top, int32_t* where,
                 Map map, Pooling pooling, int threads);
void roi_pooling_backward(bool wide, const void* grad, const int32_t* where, const void* rois,
                          void* d_features, Map map, Pooling pooling, int threads);

// --- mask_resize.cpp; x (planes, h, w) <-> top (planes, height, width)
void mask_resize(bool wide, const void* x, void* top, int64_t planes, int64_t h, int64_t w,
                 int64_t height, int64_t width, int threads);
void mask_resize_backward(bool wide, const void* grad, void* d_x, int64_t planes, int64_t h,
                          int64_t w, int64_t height, int64_t width, int mode, int threads);

// --- mask_pooling.cpp; features, top (pixels, channels), mask (pixels)
void mask_pooling(Storage storage, const void* features, const void* mask, void* top, int64_t pixels,
                  int64_t channels, int threads);
// The maximum over each 2 x 2 of a mask pooling of (images, 2 height, 2 width), never written.
void mask_pooling_pooled(Storage storage, const void* features, const void* mask, void* top,
                         int64_t images, int64_t height, int64_t width, int64_t channels,
                         int threads);
void mask_pooling_backward_mask(bool wide, const void* grad, const void* features, void* d_mask,
                                int64_t pixels, int64_t channels, int threads);

// --- nms.cpp; boxes (count, 4), best first; kept (count) receives rows; returns how many
int64_t nms(bool wide, const void* boxes, int64_t count, double thresh, bool inclusive,
            int64_t limit, int64_t* kept, int threads);

// --- mask_voting.cpp; boxes (N, 4), masks (N, side, side), members of result k:
// inds[ends[k - 1]] .. inds[ends[k] - 1]; out_masks (results, side, side), out_boxes (results, 4)
void mask_voting(bool wide, const void* boxes, const void* masks, const int64_t* inds,
                 const int64_t* ends, const void* weights, int64_t results, int64_t side,
                 int64_t height, int64_t width, double threshold, void* out_masks,
                 int32_t* out_boxes, int threads);

// --- overlaps.cpp; boxes (n, 4), query (k, 4) -> result (n, k)
void box_overlaps(bool wide, const void* boxes, const void* query, void* result, int64_t n,
                  int64_t k, int threads);
// Boolean masks cropped to whole-pixel boxes, one after the other; offsets: first byte of each.
void mask_overlaps(const int64_t* boxes, const uint8_t* masks, const int64_t* offsets,
                   const int64_t* query, const uint8_t* query_masks, const int64_t* query_offsets,
                   double* result, int64_t n, int64_t k, int threads);

}  // namespace region
