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
    A row with NaN is dropped: it would outlive every other. Under torch.export so is one whose
    score is -inf.

    Raises ValueError for other shapes.
    """
    if dets.dim() != 2 or dets.shape[1] != 5 or not dets.is_floating_point():
        raise ValueError(f"nms: dets must be floating (N, 5) rows x1, y1, x2, y2, score, "
                         f"got {dets.dtype} {tuple(dets.shape)}")
    if torch.compiler.is_exporting():
        scores = torch.where(dets.isnan().any(1), -torch.inf, dets[:, 4])
        return nms_of_lists(half_open(dets[None, :, :4]), scores[None], thresh, inclusive,
                            limit)[:, 1]
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


MOST = 2 ** 31 - 1      # boxes; with no limit exported graphs check sizes by numbers beyond int64


@nms_forward.register_fake
def _(boxes, thresh, inclusive, limit):
    count = torch.library.get_ctx().new_dynamic_size(max=MOST)
    return boxes.new_empty(count, dtype=torch.int64)


def half_open(boxes: Tensor) -> Tensor:
    """Inclusive boxes (..., 4) with corners x2, y2 one further: width = x2 - x1."""
    return boxes + torch.tensor([0, 0, 1, 1], dtype=boxes.dtype, device=boxes.device)


@torch.library.custom_op("caffe::nms_of_lists", mutates_args=())
def nms_of_lists(boxes: Tensor, scores: Tensor, thresh: float, inclusive: bool,
                 limit: int) -> Tensor:
    """(T, 2) int64: the list and the row of each box that survives, best of its list first.

    boxes (B, N, 4), half-open (width = x2 - x1); scores (B, N), of which NaN and -inf do not take
    part. Each list by itself, as `nms`; limit survivors of each, 0: all. The form that exported
    graphs have: ONNX's NonMaxSuppression says it.
    """
    last = torch.tensor([0, 0, 1, 1], dtype=torch.float64, device=boxes.device)
    found = [boxes.new_empty(0, 2, dtype=torch.int64)]
    for i in range(len(boxes)):
        rows = (scores[i] > -torch.inf).nonzero()[:, 0]
        dets = torch.cat((boxes[i, rows].double() - last, scores[i, rows, None].double()), 1)
        rows = rows[nms(dets, thresh, inclusive, limit)]
        found.append(torch.stack((torch.full_like(rows, i), rows), 1))
    return torch.cat(found)


@nms_of_lists.register_fake
def _(boxes, scores, thresh, inclusive, limit):
    count = torch.library.get_ctx().new_dynamic_size(max=MOST)
    return boxes.new_empty((count, 2), dtype=torch.int64)


def _rows(kept: list[int], boxes: Tensor) -> Tensor:
    return torch.tensor(kept, dtype=torch.int64, device=boxes.device)
