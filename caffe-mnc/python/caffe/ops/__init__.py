"""Operators that torch lacks, one module each: schema, torch reference, gradient formula, fake.

Every operator is a `torch.library` custom op in the namespace `caffe`. The reference runs wherever
no native kernel is registered for the device: `native` has those for the CPU (C++), `cuda` those
for GPUs. `references()` has the references run all the same.
"""

from caffe.ops import cuda  # registers its kernels, which are compiled when a GPU needs them
from caffe.ops.kernels import OPS, native, references
from caffe.ops.layout import floats_for
from caffe.ops.mask_pooling import mask_pooling, mask_pooling_pooled
from caffe.ops.mask_resize import mask_resize
from caffe.ops.mask_voting import mask_voting
from caffe.ops.mode import Mode
from caffe.ops.nms import half_open, nms, nms_of_lists
from caffe.ops.overlaps import box_overlaps, iou, mask_overlaps
from caffe.ops.roi_levels import across_levels
from caffe.ops.roi_pooling import roi_pooling
from caffe.ops.roi_warping import roi_warping, roi_warping_pooled
from caffe.ops.sources import sources

__all__ = ["OPS", "Mode", "across_levels", "box_overlaps", "cuda", "floats_for", "half_open", "iou",
           "mask_overlaps", "mask_pooling", "mask_pooling_pooled", "mask_resize", "mask_voting",
           "native", "nms", "nms_of_lists", "references", "roi_pooling", "roi_warping",
           "roi_warping_pooled", "sources"]
