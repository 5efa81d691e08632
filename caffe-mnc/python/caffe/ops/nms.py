"""Greedy non-maximum suppression of boxes (x1, y1, x2, y2), inclusive: width = x2 - x1 + 1."""

from __future__ import annotations

import torch
from torch import Tensor

from caffe.ops.overlaps import iou

BLOCK = 256      # boxes compared with each other at a time


def nms(dets: Tensor, thresh: float, inclusive: bool = False, limit: int = 0) -> Tensor:
    """Rows of dets (N, 5) = (x1, y1, x2, y2, score) that survive, int64, best score first.

    Of equal scores the lower row comes first. A box is dropped when its IoU with a better kept one
    is > thresh, or >= thresh if `inclusive`. With a `limit` the search ends at so many survivors.
    A row with NaN is dropped: it would outlive every other.

    Raises ValueError for other shapes.
    """
    if dets.dim() != 2 or dets.shape[1] != 5 or not dets.is_floating_point():
        raise ValueError(f"nms: dets must be floating (N, 5) rows x1, y1, x2, y2, score, "
                         f"got {dets.dtype} {tuple(dets.shape)}")
    order = dets[:, 4].sort(descending=True, stable=True).indices
    order = order[~dets[order].isnan().any(1)]
    return order[nms_forward(dets[order, :4], thresh, inclusive, limit)]


@torch.library.custom_op("caffe::nms", mutates_args=())
def nms_forward(boxes: Tensor, thresh: float, inclusive: bool, limit: int) -> Tensor:
    """Rows of boxes (N, 4), best first, that survive."""
    suppresses = torch.ge if inclusive else torch.gt
    kept: list[int] = []
    for start in range(0, len(boxes), BLOCK):
        block = boxes[start:start + BLOCK]
        alive = ~suppresses(iou(block, boxes[kept]), thresh).any(1).cpu().numpy()
        overlaps = suppresses(iou(block, block), thresh).cpu().numpy()
        for i in range(len(block)):
            if alive[i]:
                kept.append(start + i)
                if len(kept) == limit:
                    return _rows(kept, boxes)
                alive[overlaps[i]] = False
    return _rows(kept, boxes)


@nms_forward.register_fake
def _(boxes, thresh, inclusive, limit):
    count = torch.library.get_ctx().new_dynamic_size()
    return boxes.new_empty(count, dtype=torch.int64)


def _rows(kept: list[int], boxes: Tensor) -> Tensor:
    return torch.tensor(kept, dtype=torch.int64, device=boxes.device)
