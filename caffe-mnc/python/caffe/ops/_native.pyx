# cython: language_level=3
# distutils: language = c++
"""The C++ kernels on raw buffers: addresses of contiguous memory and sizes (src/ops/kernels.hpp).

Nothing is checked here; caffe/ops/native.py calls these with tensors it has checked.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t
from libcpp cimport bool as boolean


cdef extern from "kernels.hpp" namespace "region" nogil:
    cdef struct Map:
        int64_t images, channels, height, width

    cdef struct Pooling:
        int64_t rois, height, width
        double scale

    void c_mask_pooling "region::mask_pooling"(
        boolean, const void*, const void*, void*, int64_t, int64_t, int)
    void c_mask_pooling_backward_mask "region::mask_pooling_backward_mask"(
        boolean, const void*, const void*, void*, int64_t, int64_t, int)


def mask_pooling(bint wide, size_t features, size_t mask, size_t top, int64_t pixels,
                 int64_t channels, int threads):
    with nogil:
        c_mask_pooling(wide, <void*> features, <void*> mask, <void*> top, pixels, channels, threads)


def mask_pooling_backward_mask(bint wide, size_t grad, size_t features, size_t d_mask,
                               int64_t pixels, int64_t channels, int threads):
    with nogil:
        c_mask_pooling_backward_mask(wide, <void*> grad, <void*> features, <void*> d_mask, pixels,
                                     channels, threads)
