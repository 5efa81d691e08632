"""Operators that torch lacks, one module each: schema, torch reference, gradient formula, fake.

Every operator is a `torch.library` custom op in the namespace `caffe`. The reference runs wherever
no native kernel is registered for the device: `native` has those for the CPU (C++), `cuda` those
for GPUs.
"""

from caffe.ops.mask_pooling import mask_pooling
from caffe.ops.mask_resize import mask_resize
from caffe.ops.mask_voting import mask_voting
from caffe.ops.nms import nms
from caffe.ops.roi_pooling import roi_pooling
from caffe.ops.roi_warping import roi_warping

try:
    from caffe.ops import native        # registers its kernels
except ImportError:                     # not built here: the references serve
    native = None

__all__ = ["mask_pooling", "mask_resize", "mask_voting", "nms", "roi_pooling", "roi_warping"]
