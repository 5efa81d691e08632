"""Intersection over union, each with each: of boxes, and of masks cropped to whole-pixel boxes.

Boxes are (x1, y1, x2, y2), inclusive: width = x2 - x1 + 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

Mask = np.ndarray | Tensor


def box_overlaps(boxes: Tensor, query: Tensor) -> Tensor:
    """(N, K): IoU of each of `boxes` (N, >=4) with each of `query` (K, >=4); columns 0-3 count.

    0 also where there is no such thing: a coordinate is NaN, or a box infinite or of no size.

    Raises ValueError for other shapes, TypeError where the dtypes differ.
    """
    if any(x.dim() != 2 or x.shape[1] < 4 for x in (boxes, query)):
        raise ValueError(f"box_overlaps: boxes must be (N, 4 or more) and query (K, 4 or more), "
                         f"got {tuple(boxes.shape)} and {tuple(query.shape)}")
    if not boxes.is_floating_point() or boxes.dtype != query.dtype:
        raise TypeError(f"box_overlaps: boxes and query must have one floating dtype, "
                        f"got {boxes.dtype} and {query.dtype}")
    return box_overlaps_forward(boxes[:, :4], query[:, :4])


def mask_overlaps(boxes: Mask, masks: Sequence[Mask], query: Mask,
                  query_masks: Sequence[Mask]) -> Tensor:
    """(N, K) float64: |a and b| / |a or b| of each of `masks` with each of `query_masks`.

    boxes (N, 4), query (K, 4) in whole pixels; N and K masks (h, w), bool or uint8 (set where not
    0), each as large as its box. A box with x2 < x1 or y2 < y1 holds nothing, whatever its mask.
    0 where both masks are empty.
    """
    return mask_overlaps_forward(*_packed(boxes, masks), *_packed(query, query_masks))


@torch.library.custom_op("caffe::box_overlaps", mutates_args=())
def box_overlaps_forward(boxes: Tensor, query: Tensor) -> Tensor:
    shares = iou(boxes, query)
    return torch.where(shares > 0, shares, 0)


@torch.library.custom_op("caffe::mask_overlaps", mutates_args=())
def mask_overlaps_forward(boxes: Tensor, masks: Tensor, query: Tensor,
                          query_masks: Tensor) -> Tensor:
    """boxes, query int64; masks, query_masks: the bytes of all masks, one after the other."""
    result = torch.zeros(len(boxes), len(query), dtype=torch.float64)
    others = _cut(query, query_masks)
    for i, (box, mask) in enumerate(_cut(boxes, masks)):
        for j, (other_box, other) in enumerate(others):
            result[i, j] = _overlap(box, mask, other_box, other)
    return result.to(masks.device)


@box_overlaps_forward.register_fake
def _(boxes, query):
    return boxes.new_empty(boxes.shape[0], query.shape[0])


@mask_overlaps_forward.register_fake
def _(boxes, masks, query, query_masks):
    return masks.new_empty((boxes.shape[0], query.shape[0]), dtype=torch.float64)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """(N, 4), (K, 4) -> (N, K) intersection over union, NaN for 0/0"""
    x1, y1 = (torch.maximum(a[:, None, i], b[None, :, i]) for i in (0, 1))
    x2, y2 = (torch.minimum(a[:, None, i], b[None, :, i]) for i in (2, 3))
    both = (x2 - x1 + 1).clamp_(min=0) * (y2 - y1 + 1).clamp_(min=0)
    return both / (_area(a)[:, None] + _area(b) - both)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)


def pixels(boxes: Tensor) -> Tensor:
    """(N,) how many pixels each whole-pixel box (N, 4) holds."""
    return (boxes[:, 2:] - boxes[:, :2] + 1).clamp(min=0).prod(1)


def _packed(boxes: Mask, masks: Sequence[Mask]) -> tuple[Tensor, Tensor]:
    """(N, 4) int64 and the bytes of N masks, one after the other."""
    boxes = _tensor(boxes)
    whole = boxes.long()
    if boxes.shape != (len(masks), 4) or not torch.equal(whole.to(boxes.dtype), boxes):
        raise ValueError(f"mask_overlaps: whole-pixel boxes ({len(masks)}, 4) are needed for "
                         f"{len(masks)} masks, got {boxes.dtype} {tuple(boxes.shape)}")
    parts = [torch.zeros(0, dtype=torch.uint8, device=whole.device)]
    for k, ((x1, y1, x2, y2), mask) in enumerate(zip(whole.tolist(), masks)):
        if x1 > x2 or y1 > y2:
            continue
        mask = _tensor(mask)
        if mask.shape != (y2 - y1 + 1, x2 - x1 + 1) or mask.dtype not in (torch.bool, torch.uint8):
            raise ValueError(f"mask_overlaps: mask {k} must be bool or uint8 "
                             f"({y2 - y1 + 1}, {x2 - x1 + 1}) as its box {[x1, y1, x2, y2]} is, "
                             f"got {mask.dtype} {tuple(mask.shape)}")
        parts.append(mask.reshape(-1))
    return whole, torch.cat(parts)


def _tensor(array: Mask) -> Tensor:
    if isinstance(array, Tensor):
        return array
    return torch.from_numpy(np.require(array, requirements=("C", "W")))


def _cut(boxes: Tensor, masks: Tensor) -> list[tuple[list[int], Tensor]]:
    """[(box, (h, w) bool)]"""
    parts = (masks != 0).split(pixels(boxes).tolist())
    sizes = (boxes[:, 2:] - boxes[:, :2] + 1).clamp(min=0).tolist()
    return [(box, part.view(h, w)) for box, part, (w, h) in zip(boxes.tolist(), parts, sizes)]


def _overlap(box: list[int], mask: Tensor, other_box: list[int], other: Tensor) -> float:
    first = [max(a, b) for a, b in zip(box[:2], other_box[:2])]
    last = [min(a, b) for a, b in zip(box[2:], other_box[2:])]
    if first[0] > last[0] or first[1] > last[1]:
        return 0.0
    (x1, y1), (x2, y2) = first, last
    windows = [m[y1 - b[1]:y2 + 1 - b[1], x1 - b[0]:x2 + 1 - b[0]]
               for b, m in ((box, mask), (other_box, other))]
    both = int((windows[0] & windows[1]).sum())
    union = int(mask.sum()) + int(other.sum()) - both
    return both / union if union else 0.0
