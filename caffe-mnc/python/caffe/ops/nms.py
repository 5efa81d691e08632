"""Greedy non-maximum suppression of boxes (x1, y1, x2, y2), inclusive: width = x2 - x1 + 1."""

from __future__ import annotations

import torch
from torch import Tensor


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
    boxes = dets[order, :4].T.contiguous()          # (4, N), best first
    kept = []
    while order.numel() and not 0 < limit <= len(kept):
        kept.append(order[0])
        left = ~suppresses(_iou_with_first(boxes), thresh)
        left[0] = False
        order, boxes = order[left], boxes[:, left]
    return torch.stack(kept) if kept else order.clone()


@nms_forward.register_fake
def _(dets, thresh, inclusive, limit):
    count = torch.library.get_ctx().new_dynamic_size()
    return dets.new_empty(count, dtype=torch.int64)


def _iou_with_first(boxes: Tensor) -> Tensor:
    """(4, N) -> (N,) intersection over union of each box with the first."""
    x1, y1, x2, y2 = boxes
    width = (torch.minimum(x2, x2[0]) - torch.maximum(x1, x1[0]) + 1).clamp(min=0)
    height = (torch.minimum(y2, y2[0]) - torch.maximum(y1, y1[0]) + 1).clamp(min=0)
    inter = width * height
    area = (x2 - x1 + 1) * (y2 - y1 + 1)
    return inter / (area[0] + area - inter)
