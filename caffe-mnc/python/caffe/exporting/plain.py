"""Operators of caffe.ops in torch alone, for files of code, which hold the text of these functions.

Slow and obvious; the tests hold them against the operators.
"""

from __future__ import annotations

import torch


def nms_of_lists(boxes: torch.Tensor, scores: torch.Tensor, thresh: float, inclusive: bool,
                 limit: int) -> torch.Tensor:
    """(T, 2): list and row of the boxes that survive, best first; boxes (B, N, 4), scores (B, N)"""
    found = [torch.zeros(0, 2, dtype=torch.int64)]
    for i in range(len(boxes)):
        order = scores[i].sort(descending=True, stable=True).indices
        order = order[scores[i][order] > -torch.inf]
        box = boxes[i][order].double()
        kept: list[int] = []
        area = (box[:, 2:] - box[:, :2]).prod(1)
        alive = torch.ones(len(box), dtype=torch.bool)
        for j in range(len(box)):
            if alive[j] and (not limit or len(kept) < limit):
                kept.append(j)
                low = torch.maximum(box[j, :2], box[:, :2])
                high = torch.minimum(box[j, 2:], box[:, 2:])
                both = (high - low).clamp(min=0).prod(1)
                overlap = both / (area[j] + area - both)
                alive = alive & ~(overlap >= thresh if inclusive else overlap > thresh)
        rows = order[torch.tensor(kept, dtype=torch.int64)]
        found.append(torch.stack((torch.full_like(rows, i), rows), 1))
    return torch.cat(found)


def roi_pooling(features: torch.Tensor, rois: torch.Tensor, pooled_h: int, pooled_w: int,
                scale: float) -> tuple[torch.Tensor]:
    """(R, C, pooled_h, pooled_w): the maximum over each bin of a RoI; 0 for an empty one"""
    height, width = features.shape[2:]
    scaled = rois[:, 1:] * scale
    corners = (scaled.sign() * (scaled.abs() + 0.5).floor()).to(features.dtype)
    top = features.new_zeros(len(rois), features.shape[1], pooled_h, pooled_w)
    for r, (x1, y1, x2, y2) in enumerate(corners):
        size_y = torch.clamp(y2 - y1 + 1, min=1) / pooled_h
        size_x = torch.clamp(x2 - x1 + 1, min=1) / pooled_w
        for i in range(pooled_h):
            for j in range(pooled_w):
                rows = [int((y1 + torch.floor(i * size_y)).clamp(0, height)),
                        int((y1 + torch.ceil((i + 1) * size_y)).clamp(0, height))]
                columns = [int((x1 + torch.floor(j * size_x)).clamp(0, width)),
                           int((x1 + torch.ceil((j + 1) * size_x)).clamp(0, width))]
                part = features[int(rois[r, 0]), :, slice(*rows), slice(*columns)]
                if part.numel():
                    top[r, :, i, j] = part.amax((1, 2))
    return (top,)
