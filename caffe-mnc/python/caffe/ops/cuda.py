"""The CUDA kernels (src/ops/*.cu), registered for GPUs on the schemas of the other modules.

A kernel takes what the reference takes and gives the same result, to the bit the same every time.
It computes in float32 or float64; other precisions it computes in float32. A RoI that names no
image of the batch pools NaN.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from caffe.ops import nvrtc
from caffe.ops.layout import channels_last, channels_second, computable
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

MOST_BLOCKS = 2**31 - 1, 65535      # of a grid: along x, along y
WARP = 32                           # threads that run together
WORD = 64                           # boxes a word of nms.cu, BITS there
SLAB = 1 << 23                      # words of overlaps that nms has in memory at a time: 64 MiB

KERNELS: dict = {}                  # operator: its function here


def _on_gpu(op) -> Callable:
    """Register a function for GPUs; where nothing can be compiled, the reference serves."""
    def register(function: Callable) -> Callable:
        @functools.wraps(function)
        def run(x: Tensor, *arguments):
            if nvrtc.usable(x.device):
                return function(x, *arguments)
            with op.set_kernel_enabled("cuda", False):
                return op(x, *arguments)

        op.register_kernel("cuda")(run)
        KERNELS[op] = function
        return function
    return register


# --- grids: (grid, block) for a kernel that takes as many rows, elements, sums or pixels

def _rows(count: int, channels: int) -> tuple[tuple, tuple]:
    """Rows of channels: as many threads a row as it has channels, as many rows as fit a block."""
    lanes = min(nvrtc.THREADS, _power_of_two(channels))
    rows = nvrtc.THREADS // lanes
    return (_blocks(count, rows),), (lanes, rows)


def _elements(count: int) -> tuple[tuple, tuple]:
    return (_blocks(count, nvrtc.THREADS),), (nvrtc.THREADS,)


def _sums(count: int, terms: int) -> tuple[tuple, tuple]:
    """A block a sum."""
    return (_blocks(count, 1),), (min(nvrtc.THREADS, max(WARP, _power_of_two(terms))),)


def _gather(pixels: int, channels: int) -> tuple[tuple, tuple]:
    """A block a pixel along x, and as many channels as it has threads along y."""
    (columns,), (threads,) = _sums(pixels, channels)
    return (columns, _blocks(channels, threads, axis=1)), (threads,)


def _blocks(count: int, each: int, axis: int = 0) -> int:
    return min(-(-count // each), MOST_BLOCKS[axis])


def _power_of_two(count: int) -> int:
    """The least that is not less."""
    return 1 << max(count - 1, 0).bit_length()


# --- RoI warping and pooling

@_on_gpu(roi_warping_forward)
def _(features: Tensor, rois: Tensor, pooled_h: int, pooled_w: int, spatial_scale: float,
      mode: int) -> Tensor:
    return _warp("roi_warping", features, rois, (pooled_h, pooled_w), spatial_scale, mode)


@_on_gpu(roi_warping_pooled_forward)
def _(features: Tensor, rois: Tensor, pooled_h: int, pooled_w: int, spatial_scale: float,
      mode: int) -> Tensor:
    return _warp("roi_warping_pooled", features, rois, (pooled_h, pooled_w), spatial_scale, mode)


def _warp(kernel: str, features: Tensor, rois: Tensor, pooled: tuple[int, int],
          spatial_scale: float, mode: int) -> Tensor:
    rows = channels_last(features)
    boxes = rois.to(rows.dtype).contiguous()
    top = rows.new_empty(len(boxes), *pooled, rows.shape[1])
    nvrtc.launch("roi_warping", kernel, rows.dtype, *_rows(top[..., :1].numel(), rows.shape[1]),
                 rows, boxes, top, *_sizes(rows.shape, boxes, pooled, spatial_scale),
                 mode)
    return channels_second(top, features.dtype)


@_on_gpu(roi_warping_backward_features)
def _(grad: Tensor, features: Tensor, rois: Tensor, spatial_scale: float, mode: int) -> Tensor:
    grad = channels_last(grad)
    boxes = rois.to(grad.dtype).contiguous()
    images, channels, height, width = features.shape
    rows = grad.new_empty(images, height, width, channels)
    nvrtc.launch("roi_warping", "roi_warping_backward_features", rows.dtype,
                 *_gather(images * height * width, channels), grad, boxes, rows,
                 *_sizes(features.shape, boxes, grad.shape[2:], spatial_scale), mode)
    return channels_second(rows, features.dtype)


@_on_gpu(roi_warping_backward_rois)
def _(grad: Tensor, features: Tensor, rois: Tensor, spatial_scale: float, mode: int) -> Tensor:
    grad, rows = channels_last(grad), channels_last(features)
    boxes = rois.to(grad.dtype).contiguous()
    d_rois = torch.empty_like(boxes)
    bins = grad.shape[2:].numel()
    slopes = grad.new_empty(len(boxes), bins, 2)
    sizes = (*_sizes(features.shape, boxes, grad.shape[2:], spatial_scale), mode)
    nvrtc.launch("roi_warping", "roi_warping_slopes", grad.dtype,
                 *_sums(len(boxes) * bins, rows.shape[1]), grad, rows, boxes, slopes, *sizes)
    nvrtc.launch("roi_warping", "roi_warping_backward_rois", grad.dtype,
                 *_sums(len(boxes), bins), slopes, boxes, d_rois, *sizes)
    return d_rois.to(rois.dtype)


@_on_gpu(roi_pooling_forward)
def _(features: Tensor, rois: Tensor, pooled_h: int, pooled_w: int,
      spatial_scale: float) -> tuple[Tensor, Tensor]:
    rows = channels_last(features)
    boxes = rois.to(rows.dtype).contiguous()
    top = rows.new_empty(len(boxes), pooled_h, pooled_w, rows.shape[1])
    where = torch.empty_like(top, dtype=torch.int32)
    nvrtc.launch("roi_pooling", "roi_pooling", rows.dtype,
                 *_rows(top[..., :1].numel(), rows.shape[1]), rows, boxes, top, where,
                 *_sizes(rows.shape, boxes, (pooled_h, pooled_w), spatial_scale))
    return channels_second(top, features.dtype), where.permute(0, 3, 1, 2)


@_on_gpu(roi_pooling_backward)
def _(grad: Tensor, where: Tensor, features: Tensor, rois: Tensor,
      spatial_scale: float) -> Tensor:
    grad, where = channels_last(grad), where.contiguous(memory_format=torch.channels_last)
    boxes = rois.to(grad.dtype).contiguous()
    images, channels, height, width = features.shape
    rows = grad.new_empty(images, height, width, channels)
    nvrtc.launch("roi_pooling", "roi_pooling_backward", rows.dtype,
                 *_gather(images * height * width, channels), grad, where, boxes, rows,
                 *_sizes(features.shape, boxes, grad.shape[2:], spatial_scale))
    return channels_second(rows, features.dtype)


def _sizes(map_shape: torch.Size, rois: Tensor, pooled: Sequence[int],
           spatial_scale: float) -> tuple:
    """Images, channels, height, width, RoIs, pooled height and width, scale: in this order."""
    return *map_shape, len(rois), *pooled, float(spatial_scale)


# --- masks

@_on_gpu(mask_pooling_forward)
def _(features: Tensor, mask: Tensor) -> Tensor:
    if memory_format(features) != torch.channels_last:
        return (features * mask).to(features.dtype).contiguous()
    rows = computable(features)
    by = mask.to(rows.dtype).contiguous()
    top = torch.empty_like(rows)
    nvrtc.launch("mask_pooling", "mask_pooling", rows.dtype, *_rows(by.numel(), rows.shape[1]),
                 rows, by, top, by.numel(), rows.shape[1])
    return top.to(features.dtype)


@_on_gpu(mask_pooling_pooled_forward)
def _(features: Tensor, mask: Tensor) -> Tensor:
    """In two steps: no kernel of its own yet."""
    pooled = F.max_pool2d(mask_pooling_forward(features, mask), 2, 2)
    return pooled.contiguous(memory_format=torch.channels_last)


@_on_gpu(mask_pooling_backward_mask)
def _(grad: Tensor, features: Tensor) -> Tensor:
    if memory_format(features) != torch.channels_last:
        return (grad * features).sum(1, keepdim=True).contiguous()
    grad, rows = channels_last(grad), computable(features)
    images, channels, height, width = rows.shape
    mask = rows.new_empty(images, 1, height, width)
    nvrtc.launch("mask_pooling", "mask_pooling_backward_mask", rows.dtype,
                 *_sums(mask.numel(), channels), grad, rows, mask, mask.numel(), channels)
    return mask.to(features.dtype)


@_on_gpu(mask_resize_forward)
def _(x: Tensor, height: int, width: int, mode: int) -> Tensor:
    planes = computable(x).contiguous()
    top = planes.new_empty(*x.shape[:2], height, width)
    nvrtc.launch("mask_resize", "mask_resize", top.dtype, *_elements(top.numel()), planes, top,
                 x.shape[:2].numel(), *x.shape[2:], height, width)
    return top.to(x.dtype)


@_on_gpu(mask_resize_backward)
def _(grad: Tensor, height: int, width: int, mode: int) -> Tensor:
    planes = computable(grad).contiguous()
    d_x = planes.new_empty(*grad.shape[:2], height, width)
    nvrtc.launch("mask_resize", "mask_resize_backward", d_x.dtype, *_elements(d_x.numel()), planes,
                 d_x, grad.shape[:2].numel(), height, width, *grad.shape[2:], mode)
    return d_x.to(grad.dtype)


@_on_gpu(mask_voting_forward)
def _(boxes: Tensor, masks: Tensor, candidate_inds: Tensor, candidate_ends: Tensor,
      candidate_weights: Tensor, height: int, width: int,
      threshold: float) -> tuple[Tensor, Tensor]:
    results, side = len(candidate_ends), masks.shape[-1]
    drawn = computable(masks).contiguous()
    members = (boxes.to(drawn.dtype).contiguous(), drawn, candidate_inds.contiguous(),
               candidate_ends.contiguous(), candidate_weights.to(drawn.dtype).contiguous())
    tight = torch.full((results, 4), -1, dtype=torch.int32, device=masks.device)
    tight[:, 0], tight[:, 1] = width, height
    rows = min(height, MOST_BLOCKS[1])
    nvrtc.launch("mask_voting", "mask_voting_boxes", drawn.dtype, (results, rows),
                 (nvrtc.THREADS,), *members, results, side, height, width, float(threshold), tight)
    out_masks = drawn.new_empty(results, side, side)
    out_boxes = torch.empty_like(tight)
    nvrtc.launch("mask_voting", "mask_voting_masks", drawn.dtype, *_elements(out_masks.numel()),
                 *members, tight, results, side, height, width, out_masks, out_boxes)
    return out_masks.to(masks.dtype), out_boxes


# --- boxes

@_on_gpu(nms_forward)
def _(boxes: Tensor, thresh: float, inclusive: bool, limit: int) -> Tensor:
    boxes = computable(boxes).contiguous()
    count, words = len(boxes), -(-len(boxes) // WORD)
    dropped, kept, found = (boxes.new_zeros(n, dtype=torch.int64) for n in (words, count, 1))
    slab = max(SLAB // max(words, 1) // WORD, 1) * WORD
    overlaps = boxes.new_empty(min(slab, count), words, dtype=torch.int64)
    for first in range(0, count, slab):
        rows = min(slab, count - first)
        nvrtc.launch("nms", "nms_overlaps", boxes.dtype, (words, -(-rows // WORD)), (WORD,), boxes,
                     count, first, rows, float(thresh), int(inclusive), limit, found, overlaps)
        nvrtc.launch("nms", "nms_scan", boxes.dtype, (1,), (nvrtc.THREADS,), overlaps, count,
                     first, rows, limit, dropped, kept, found)
    return kept[:int(found)]        # the one time that the host waits for the GPU


@_on_gpu(box_overlaps_forward)
def _(boxes: Tensor, query: Tensor) -> Tensor:
    rows, columns = computable(boxes).contiguous(), computable(query).contiguous()
    result = rows.new_empty(len(rows), len(columns))
    nvrtc.launch("overlaps", "box_overlaps", result.dtype, *_elements(result.numel()), rows,
                 columns, result, *result.shape)
    return result.to(boxes.dtype)


@_on_gpu(mask_overlaps_forward)
def _(boxes: Tensor, masks: Tensor, query: Tensor, query_masks: Tensor) -> Tensor:
    rows, columns = _located(boxes, masks), _located(query, query_masks)
    result = torch.empty(len(boxes), len(query), dtype=torch.float64, device=masks.device)
    # what they count is whole; the precision is any
    for packed in (rows, columns):
        nvrtc.launch("overlaps", "mask_areas", torch.float32, *_sums(len(packed[0]), nvrtc.THREADS),
                     *packed[:3], len(packed[0]), packed[3])
    nvrtc.launch("overlaps", "mask_overlaps", torch.float32,
                 *_sums(result.numel(), nvrtc.THREADS), *rows, *columns, result, *result.shape)
    return result


def _located(boxes: Tensor, masks: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """boxes and bytes, the first byte of each mask, and room for what each has set."""
    sizes = pixels(boxes)
    return (boxes.contiguous(), masks.contiguous(), sizes.cumsum(0) - sizes,
            torch.empty_like(sizes, dtype=torch.int32))
