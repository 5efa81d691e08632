"""All operators, and which code serves them on the CPU: the native kernels or the references."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from caffe.ops.mask_pooling import (
    mask_pooling_backward_mask,
    mask_pooling_forward,
    mask_pooling_pooled_forward,
)
from caffe.ops.mask_resize import mask_resize_backward, mask_resize_forward
from caffe.ops.mask_voting import mask_voting_forward
from caffe.ops.nms import nms_forward
from caffe.ops.overlaps import box_overlaps_forward, mask_overlaps_forward
from caffe.ops.roi_pooling import roi_pooling_backward, roi_pooling_forward
from caffe.ops.roi_warping import (
    roi_warping_backward_features,
    roi_warping_backward_rois,
    roi_warping_forward,
    roi_warping_pooled_forward,
)

OPS = (
    box_overlaps_forward,
    mask_overlaps_forward,
    mask_pooling_backward_mask,
    mask_pooling_forward,
    mask_pooling_pooled_forward,
    mask_resize_backward,
    mask_resize_forward,
    mask_voting_forward,
    nms_forward,
    roi_pooling_backward,
    roi_pooling_forward,
    roi_warping_backward_features,
    roi_warping_backward_rois,
    roi_warping_forward,
    roi_warping_pooled_forward,
)

try:
    from caffe.ops import native  # registers a kernel for each of OPS
except ImportError as problem:
    native = None       # type: ignore[assignment]
    logging.getLogger("caffe").warning(
        "The C++ kernels are not there (%s): torch references serve, which are slower. Build them "
        "by `python setup.py build_ext --inplace`; that needs a C++ compiler", problem)


@contextmanager
def references() -> Iterator[None]:
    """Inside, the torch references run on the CPU instead of the kernels: to compare and to time.

    It holds for the whole process, not for one thread.
    """
    with ExitStack() as stack:
        for op in OPS if native else ():
            stack.enter_context(op.set_kernel_enabled("cpu", False))
        yield
