"""The C++ kernels (src/ops/*.cpp), registered for the CPU on the schemas of the other modules.

A kernel takes what the reference takes and gives the same result. It computes in float32 or
float64; other precisions it computes in float32. Of bfloat16 the forward kernels of maps read and
write the maps as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor

import caffe.ops._native as _native
from caffe.ops.layout import channels_last, channels_second, computable, floats_for
from caffe.ops.mask_pooling import (
    mask_pooling_backward_mask,
    mask_pooling_forward,
    mask_pooling_pooled_forward,
    memory_format,
)
from caffe.ops.mask_resize import mask_resize_backward, mask_resize_forward
from caffe.ops.mask_voting import mask_voting_forward
from caffe.ops.nms import nms_forward
from caffe.ops.overlaps import box_overlaps_forward, mask_overlaps_forward, pixels
from caffe.ops.roi_pooling import roi_pooling_backward, roi_pooling_forward
from caffe.ops.roi_warping import (
    roi_warping_backward_features,
    roi_warping_backward_rois,
    roi_warping_forward,
    roi_warping_pooled_forward,
)

LIBRARY: str = _native.__file__


STORAGE = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2}      # kernels.hpp


def _wide(x: Tensor) -> bool:
    return x.dtype == torch.float64


def _stored(features: Tensor) -> Tensor:
    """(N, C, H, W), channels-last, in a precision that the forward kernels take."""
    known = features if features.dtype in STORAGE else features.float()
    return known.contiguous(memory_format=torch.channels_last)


@roi_warping_forward.register_kernel("cpu")
def _(features: Tensor, rois: Tensor, pooled_h: int, pooled_w: int, spatial_scale: float,
      mode: int) -> Tensor:
    return _warp(_native.roi_warping, features, rois, (pooled_h, pooled_w), spatial_scale, mode)


@roi_warping_pooled_forward.register_kernel("cpu")
def _(features: Tensor, rois: Tensor, pooled_h: int, pooled_w: int, spatial_scale: float,
      mode: int) -> Tensor:
    return _warp(_native.roi_warping_pooled, features, rois, (pooled_h, pooled_w),
                 spatial_scale, mode)


def _warp(kernel, features: Tensor, rois: Tensor, pooled: tuple[int, int],
          spatial_scale: float, mode: int) -> Tensor:
    rows = _stored(features)
    boxes = rois.to(floats_for(rows)).contiguous()
    top = rows.new_empty(len(boxes), *pooled, rows.shape[1])
    kernel(STORAGE[rows.dtype], rows.data_ptr(), boxes.data_ptr(), top.data_ptr(), rows.shape,
           (len(boxes), *pooled, spatial_scale), mode, torch.get_num_threads())
    return channels_second(top, features.dtype)


@roi_warping_backward_features.register_kernel("cpu")
def _(grad: Tensor, features: Tensor, rois: Tensor, spatial_scale: float, mode: int) -> Tensor:
    grad = channels_last(grad)
    boxes = rois.to(grad.dtype).contiguous()
    images, channels, height, width = features.shape
    rows = grad.new_empty(images, height, width, channels)
    _native.roi_warping_backward_features(
        _wide(rows), grad.data_ptr(), boxes.data_ptr(), rows.data_ptr(), features.shape,
        (len(boxes), *grad.shape[2:], spatial_scale), mode, torch.get_num_threads())
    return channels_second(rows, features.dtype)


@roi_warping_backward_rois.register_kernel("cpu")
def _(grad: Tensor, features: Tensor, rois: Tensor, spatial_scale: float, mode: int) -> Tensor:
    grad, rows = channels_last(grad), channels_last(features)
    boxes = rois.to(grad.dtype).contiguous()
    d_rois = torch.empty_like(boxes)
    _native.roi_warping_backward_rois(
        _wide(rows), grad.data_ptr(), rows.data_ptr(), boxes.data_ptr(), d_rois.data_ptr(),
        rows.shape, (len(boxes), *grad.shape[2:], spatial_scale), mode, torch.get_num_threads())
    return d_rois.to(rois.dtype)


@roi_pooling_forward.register_kernel("cpu")
def _(features: Tensor, rois: Tensor, pooled_h: int, pooled_w: int,
      spatial_scale: float) -> tuple[Tensor, Tensor]:
    rows = _stored(features)
    boxes = rois.to(floats_for(rows)).contiguous()
    top = rows.new_empty(len(boxes), pooled_h, pooled_w, rows.shape[1])
    where = torch.empty_like(top, dtype=torch.int32)
    _native.roi_pooling(STORAGE[rows.dtype], rows.data_ptr(), boxes.data_ptr(), top.data_ptr(),
                        where.data_ptr(), rows.shape,
                        (len(boxes), pooled_h, pooled_w, spatial_scale), torch.get_num_threads())
    return channels_second(top, features.dtype), where.permute(0, 3, 1, 2)


@roi_pooling_backward.register_kernel("cpu")
def _(grad: Tensor, where: Tensor, features: Tensor, rois: Tensor,
      spatial_scale: float) -> Tensor:
    grad, where = channels_last(grad), where.contiguous(memory_format=torch.channels_last)
    boxes = rois.to(grad.dtype).contiguous()
    images, channels, height, width = features.shape
    rows = grad.new_empty(images, height, width, channels)
    _native.roi_pooling_backward(
        _wide(rows), grad.data_ptr(), where.data_ptr(), boxes.data_ptr(), rows.data_ptr(),
        features.shape, (len(boxes), *grad.shape[2:], spatial_scale), torch.get_num_threads())
    return channels_second(rows, features.dtype)


@mask_pooling_forward.register_kernel("cpu")
def _(features: Tensor, mask: Tensor) -> Tensor:
    if memory_format(features) != torch.channels_last:     # torch is as fast there
        return (features * mask).to(features.dtype).contiguous()
    rows = _stored(features)
    by = mask.to(floats_for(rows)).contiguous()
    top = torch.empty_like(rows)
    _native.mask_pooling(STORAGE[rows.dtype], rows.data_ptr(), by.data_ptr(), top.data_ptr(),
                         by.numel(), rows.shape[1], torch.get_num_threads())
    return top.to(features.dtype)


@mask_pooling_pooled_forward.register_kernel("cpu")
def _(features: Tensor, mask: Tensor) -> Tensor:
    rows = _stored(features)
    by = mask.to(floats_for(rows)).contiguous()
    images, channels, height, width = features.shape
    top = rows.new_empty(images, height // 2, width // 2, channels)
    _native.mask_pooling_pooled(STORAGE[rows.dtype], rows.data_ptr(), by.data_ptr(),
                                top.data_ptr(), *top.shape, torch.get_num_threads())
    return channels_second(top, features.dtype)


@mask_pooling_backward_mask.register_kernel("cpu")
def _(grad: Tensor, features: Tensor) -> Tensor:
    if memory_format(features) != torch.channels_last:
        return (grad * features).sum(1, keepdim=True).contiguous()
    grad, rows = channels_last(grad), computable(features)
    images, channels, height, width = rows.shape
    mask = rows.new_empty(images, 1, height, width)
    _native.mask_pooling_backward_mask(_wide(rows), grad.data_ptr(), rows.data_ptr(),
                                       mask.data_ptr(), mask.numel(), channels,
                                       torch.get_num_threads())
    return mask.to(features.dtype)


@mask_resize_forward.register_kernel("cpu")
def _(x: Tensor, height: int, width: int, mode: int) -> Tensor:
    planes = computable(x).contiguous()
    top = planes.new_empty(*x.shape[:2], height, width)
    _native.mask_resize(_wide(planes), planes.data_ptr(), top.data_ptr(), x.shape[:2].numel(),
                        *x.shape[2:], height, width, torch.get_num_threads())
    return top.to(x.dtype)


@mask_resize_backward.register_kernel("cpu")
def _(grad: Tensor, height: int, width: int, mode: int) -> Tensor:
    planes = computable(grad).contiguous()
    d_x = planes.new_empty(*grad.shape[:2], height, width)
    _native.mask_resize_backward(_wide(planes), planes.data_ptr(), d_x.data_ptr(),
                                 grad.shape[:2].numel(), height, width, *grad.shape[2:], mode,
                                 torch.get_num_threads())
    return d_x.to(grad.dtype)


@nms_forward.register_kernel("cpu")
def _(boxes: Tensor, thresh: float, inclusive: bool, limit: int) -> Tensor:
    boxes = computable(boxes).contiguous()
    kept = torch.empty(len(boxes), dtype=torch.int64)
    found = _native.nms(_wide(boxes), boxes.data_ptr(), len(boxes), thresh, inclusive, limit,
                        kept.data_ptr(), torch.get_num_threads())
    return kept[:found].clone()


@mask_voting_forward.register_kernel("cpu")
def _(boxes: Tensor, masks: Tensor, candidate_inds: Tensor, candidate_ends: Tensor,
      candidate_weights: Tensor, height: int, width: int,
      threshold: float) -> tuple[Tensor, Tensor]:
    floats = [computable(x).contiguous() for x in (boxes, masks, candidate_weights)]
    whole = [x.contiguous() for x in (candidate_inds, candidate_ends)]
    results, side = len(candidate_ends), masks.shape[-1]
    out_masks = floats[1].new_empty(results, side, side)
    out_boxes = torch.empty(results, 4, dtype=torch.int32)
    _native.mask_voting(_wide(floats[1]), floats[0].data_ptr(), floats[1].data_ptr(),
                        whole[0].data_ptr(), whole[1].data_ptr(), floats[2].data_ptr(), results,
                        side, height, width, threshold, out_masks.data_ptr(),
                        out_boxes.data_ptr(), torch.get_num_threads())
    return out_masks.to(masks.dtype), out_boxes


@box_overlaps_forward.register_kernel("cpu")
def _(boxes: Tensor, query: Tensor) -> Tensor:
    a, b = (computable(x).contiguous() for x in (boxes, query))
    result = a.new_empty(len(a), len(b))
    _native.box_overlaps(_wide(a), a.data_ptr(), b.data_ptr(), result.data_ptr(), len(a), len(b),
                         torch.get_num_threads())
    return result.to(boxes.dtype)


@mask_overlaps_forward.register_kernel("cpu")
def _(boxes: Tensor, masks: Tensor, query: Tensor, query_masks: Tensor) -> Tensor:
    boxes, masks, query, query_masks = (x.contiguous() for x in (boxes, masks, query, query_masks))
    sizes, query_sizes = pixels(boxes), pixels(query)
    first, query_first = sizes.cumsum(0) - sizes, query_sizes.cumsum(0) - query_sizes
    result = torch.empty(len(boxes), len(query), dtype=torch.float64)
    _native.mask_overlaps(boxes.data_ptr(), masks.data_ptr(), first.data_ptr(), query.data_ptr(),
                          query_masks.data_ptr(), query_first.data_ptr(), result.data_ptr(),
                          len(boxes), len(query), torch.get_num_threads())
    return result
