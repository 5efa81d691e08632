"""Greedy non-maximum suppression of boxes (x1, y1, x2, y2), inclusive: width = x2 - x1 + 1."""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 256      # boxes compared with each other at a time


def nms(dets: Tensor, thresh: float, inclusive: bool = False, limit: int = 0) -> Tensor:
    """Rows of dets (N, 5) = (x1, y1, x2, y2, score) that survive, int64, best score first.

    Of equal scores the lower row comes first. A box is dropped when its IoU with a better kept one
    is > thresh, or >= thresh if `inclusive`. With a `limit` the search ends at so many survivors.
    """
    if dets.dim() != 2 or dets.shape[1] != 5 or not dets.is_floating_point():
        raise ValueError(f"nms: dets must be floating (N, 5) rows x1, y1, x2, y2, score, "
                         f"got {dets.dtype} {tuple(dets.shape)}")
    return nms_forward(dets, thresh, inclusive, limit)


@torch.library.custom_op("caffe::nms", mutates_args=())
def nms_forward(dets: Tensor, thresh: float, inclusive: bool, limit: int) -> Tensor:
    order = dets[:, 4].sort(descending=True, stable=True).indices
    suppresses = torch.ge if inclusive else torch.gt
    boxes = dets[order, :4]                         # best first
    kept: list[int] = []
    for start in range(0, len(boxes), BLOCK):
        block = boxes[start:start + BLOCK]
        alive = ~suppresses(_iou(block, boxes[kept]), thresh).any(1).cpu().numpy()
        overlaps = suppresses(_iou(block, block), thresh).cpu().numpy()
        for i in range(len(block)):
            if alive[i]:
                kept.append(start + i)
                if len(kept) == limit:
                    return order[kept]
                alive[overlaps[i]] = False
    return order[kept]


@nms_forward.register_fake
def _(dets, thresh, inclusive, limit):
    count = torch.library.get_ctx().new_dynamic_size()
    return dets.new_empty(count, dtype=torch.int64)


def _iou(a: Tensor, b: Tensor) -> Tensor:
    """(N, 4), (K, 4) -> (N, K) intersection over union"""
    x1, y1 = (torch.maximum(a[:, None, i], b[None, :, i]) for i in (0, 1))
    x2, y2 = (torch.minimum(a[:, None, i], b[None, :, i]) for i in (2, 3))
    inter = (x2 - x1 + 1).clamp_(min=0) * (y2 - y1 + 1).clamp_(min=0)
    return inter / (_area(a)[:, None] + _area(b) - inter)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
