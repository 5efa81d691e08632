# cython: language_level=3
# distutils: language = c++
"""The C++ kernels on raw buffers: addresses of contiguous memory and sizes (src/ops/kernels.hpp).

Nothing is checked here; caffe/ops/native.py calls these with tensors it has checked.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t
from libcpp cimport bool as boolean


cdef extern from "kernels.hpp" namespace "region" nogil:
    cdef enum class Storage(int):
        FLOAT, DOUBLE, BFLOAT16

    cdef struct Map:
        int64_t images, channels, height, width

    cdef struct Pooling:
        int64_t rois, height, width
        double scale

    void c_roi_warping "region::roi_warping"(
        Storage, const void*, const void*, void*, Map, Pooling, int, int)
    void c_roi_warping_pooled "region::roi_warping_pooled"(
        Storage, const void*, const void*, void*, Map, Pooling, int, int)
    void c_roi_warping_backward_features "region::roi_warping_backward_features"(
        boolean, const void*, const void*, void*, Map, Pooling, int, int)
    void c_roi_warping_backward_rois "region::roi_warping_backward_rois"(
        boolean, const void*, const void*, const void*, void*, Map, Pooling, int, int)

    void c_roi_pooling "region::roi_pooling"(
        Storage, const void*, const void*, void*, int32_t*, Map, Pooling, int)
    void c_roi_pooling_backward "region::roi_pooling_backward"(
        boolean, const void*, const int32_t*, const void*, void*, Map, Pooling, int)

    void c_mask_resize "region::mask_resize"(
        boolean, const void*, void*, int64_t, int64_t, int64_t, int64_t, int64_t, int) except +
    void c_mask_resize_backward "region::mask_resize_backward"(
        boolean, const void*, void*, int64_t, int64_t, int64_t, int64_t, int64_t, int, int) except +

    void c_mask_pooling "region::mask_pooling"(
        Storage, const void*, const void*, void*, int64_t, int64_t, int)
    void c_mask_pooling_pooled "region::mask_pooling_pooled"(
        Storage, const void*, const void*, void*, int64_t, int64_t, int64_t, int64_t, int)
    void c_mask_pooling_backward_mask "region::mask_pooling_backward_mask"(
        boolean, const void*, const void*, void*, int64_t, int64_t, int)

    int64_t c_nms "region::nms"(
        boolean, const void*, int64_t, double, boolean, int64_t, int64_t*, int) except +

    void c_mask_voting "region::mask_voting"(
        boolean, const void*, const void*, const int64_t*, const int64_t*, const void*, int64_t,
        int64_t, int64_t, int64_t, double, void*, int32_t*, int) except +

    void c_box_overlaps "region::box_overlaps"(
        boolean, const void*, const void*, void*, int64_t, int64_t, int) except +
    void c_mask_overlaps "region::mask_overlaps"(
        const int64_t*, const uint8_t*, const int64_t*, const int64_t*, const uint8_t*,
        const int64_t*, double*, int64_t, int64_t, int) except +


cdef Map _map(shape):
    return Map(shape[0], shape[1], shape[2], shape[3])


cdef Pooling _pooling(rois_height_width_scale):
    cdef Pooling pooling
    pooling.rois, pooling.height, pooling.width, pooling.scale = rois_height_width_scale
    return pooling


def roi_warping(int storage, size_t features, size_t rois, size_t top, map_shape, pooling, int mode,
                int threads):
    cdef Map map = _map(map_shape)
    cdef Pooling bins = _pooling(pooling)
    with nogil:
        c_roi_warping(<Storage> storage, <void*> features, <void*> rois, <void*> top, map, bins,
                      mode, threads)


def roi_warping_pooled(int storage, size_t features, size_t rois, size_t top, map_shape, pooling,
                       int mode, int threads):
    cdef Map map = _map(map_shape)
    cdef Pooling bins = _pooling(pooling)
    with nogil:
        c_roi_warping_pooled(<Storage> storage, <void*> features, <void*> rois, <void*> top, map,
                             bins, mode,
                             threads)


def roi_warping_backward_features(bint wide, size_t grad, size_t rois, size_t d_features,
                                  map_shape, pooling, int mode, int threads):
    cdef Map map = _map(map_shape)
    cdef Pooling bins = _pooling(pooling)
    with nogil:
        c_roi_warping_backward_features(wide, <void*> grad, <void*> rois, <void*> d_features, map,
                                        bins, mode, threads)


def roi_warping_backward_rois(bint wide, size_t grad, size_t features, size_t rois, size_t d_rois,
                              map_shape, pooling, int mode, int threads):
    cdef Map map = _map(map_shape)
    cdef Pooling bins = _pooling(pooling)
    with nogil:
        c_roi_warping_backward_rois(wide, <void*> grad, <void*> features, <void*> rois,
                                    <void*> d_rois, map, bins, mode, threads)


def roi_pooling(int storage, size_t features, size_t rois, size_t top, size_t where, map_shape,
                pooling, int threads):
    cdef Map map = _map(map_shape)
    cdef Pooling bins = _pooling(pooling)
    with nogil:
        c_roi_pooling(<Storage> storage, <void*> features, <void*> rois, <void*> top,
                      <int32_t*> where, map,
                      bins, threads)


def roi_pooling_backward(bint wide, size_t grad, size_t where, size_t rois, size_t d_features,
                         map_shape, pooling, int threads):
    cdef Map map = _map(map_shape)
    cdef Pooling bins = _pooling(pooling)
    with nogil:
        c_roi_pooling_backward(wide, <void*> grad, <int32_t*> where, <void*> rois,
                               <void*> d_features, map, bins, threads)


def mask_pooling(int storage, size_t features, size_t mask, size_t top, int64_t pixels,
                 int64_t channels, int threads):
    with nogil:
        c_mask_pooling(<Storage> storage, <void*> features, <void*> mask, <void*> top, pixels,
                       channels, threads)


def mask_pooling_pooled(int storage, size_t features, size_t mask, size_t top, int64_t images,
                        int64_t height, int64_t width, int64_t channels, int threads):
    with nogil:
        c_mask_pooling_pooled(<Storage> storage, <void*> features, <void*> mask, <void*> top,
                              images, height, width, channels, threads)


def mask_pooling_backward_mask(bint wide, size_t grad, size_t features, size_t d_mask,
                               int64_t pixels, int64_t channels, int threads):
    with nogil:
        c_mask_pooling_backward_mask(wide, <void*> grad, <void*> features, <void*> d_mask, pixels,
                                     channels, threads)


def mask_resize(bint wide, size_t x, size_t top, int64_t planes, int64_t h, int64_t w,
                int64_t height, int64_t width, int threads):
    with nogil:
        c_mask_resize(wide, <void*> x, <void*> top, planes, h, w, height, width, threads)


def mask_resize_backward(bint wide, size_t grad, size_t d_x, int64_t planes, int64_t h, int64_t w,
                         int64_t height, int64_t width, int mode, int threads):
    with nogil:
        c_mask_resize_backward(wide, <void*> grad, <void*> d_x, planes, h, w, height, width, mode,
                               threads)


def nms(bint wide, size_t boxes, int64_t count, double thresh, bint inclusive, int64_t limit,
        size_t kept, int threads):
    cdef int64_t found
    with nogil:
        found = c_nms(wide, <void*> boxes, count, thresh, inclusive, limit, <int64_t*> kept,
                      threads)
    return found


def mask_voting(bint wide, size_t boxes, size_t masks, size_t inds, size_t ends, size_t weights,
                int64_t results, int64_t side, int64_t height, int64_t width, double threshold,
                size_t out_masks, size_t out_boxes, int threads):
    with nogil:
        c_mask_voting(wide, <void*> boxes, <void*> masks, <int64_t*> inds, <int64_t*> ends,
                      <void*> weights, results, side, height, width, threshold, <void*> out_masks,
                      <int32_t*> out_boxes, threads)


def box_overlaps(bint wide, size_t boxes, size_t query, size_t result, int64_t n, int64_t k,
                 int threads):
    with nogil:
        c_box_overlaps(wide, <void*> boxes, <void*> query, <void*> result, n, k, threads)


def mask_overlaps(size_t boxes, size_t masks, size_t offsets, size_t query, size_t query_masks,
                  size_t query_offsets, size_t result, int64_t n, int64_t k, int threads):
    with nogil:
        c_mask_overlaps(<int64_t*> boxes, <uint8_t*> masks, <int64_t*> offsets, <int64_t*> query,
                        <uint8_t*> query_masks, <int64_t*> query_offsets, <double*> result, n, k,
                        threads)
