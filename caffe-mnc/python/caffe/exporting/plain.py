"""Operators of caffe.ops in torch alone, for files of code, which hold the text of these functions.

Slow and obvious, in the part of Python that torch.jit.script takes; the tests hold them against the
operators.
"""

from __future__ import annotations

import torch


def nms_of_lists(boxes: torch.Tensor, scores: torch.Tensor, thresh: float, inclusive: bool,
                 limit: int) -> torch.Tensor:
    """(T, 2): list and row of the boxes that survive, best first; boxes (B, N, 4), scores (B, N)"""
    found = [torch.zeros([0, 2], dtype=torch.int64, device=boxes.device)]
    for i in range(len(boxes)):
        order = torch.argsort(scores[i], dim=0, descending=True, stable=True)
        order = order[scores[i][order] > float("-inf")]
        box = boxes[i][order].double()
        area = (box[:, 2:] - box[:, :2]).prod(1)
        alive = torch.ones_like(area, dtype=torch.bool)
        kept: list[int] = []
        for j in range(len(box)):
            if bool(alive[j]) and (limit == 0 or len(kept) < limit):
                kept.append(j)
                low = torch.maximum(box[j, :2], box[:, :2])
                high = torch.minimum(box[j, 2:], box[:, 2:])
                both = (high - low).clamp(min=0).prod(1)
                overlap = both / (area[j] + area - both)
                alive = alive & ~((overlap >= thresh) if inclusive else (overlap > thresh))
        rows = order[torch.tensor(kept, dtype=torch.int64)]
        found.append(torch.stack([torch.full_like(rows, i), rows], 1))
    return torch.cat(found)


def roi_pooling(features: torch.Tensor, rois: torch.Tensor, pooled_h: int, pooled_w: int,
                scale: float) -> tuple[torch.Tensor]:
    """(R, C, pooled_h, pooled_w): the maximum over each bin of a RoI; 0 for an empty one"""
    height, width = features.shape[2], features.shape[3]
    scaled = rois[:, 1:] * scale
    corners = (scaled.sign() * (scaled.abs() + 0.5).floor()).to(features.dtype)
    sizes = (corners[:, 2:] - corners[:, :2] + 1).clamp(min=1)
    top = torch.zeros([len(rois), features.shape[1], pooled_h, pooled_w], dtype=features.dtype,
                      device=features.device)
    for r in range(len(rois)):
        x, y = corners[r, 0], corners[r, 1]
        width_of_bin, height_of_bin = sizes[r, 0] / pooled_w, sizes[r, 1] / pooled_h
        for i in range(pooled_h):
            first_row = int((y + torch.floor(i * height_of_bin)).clamp(0, height))
            last_row = int((y + torch.ceil((i + 1) * height_of_bin)).clamp(0, height))
            for j in range(pooled_w):
                first = int((x + torch.floor(j * width_of_bin)).clamp(0, width))
                last = int((x + torch.ceil((j + 1) * width_of_bin)).clamp(0, width))
                if last_row > first_row and last > first:
                    part = features[int(rois[r, 0]), :, first_row:last_row, first:last]
                    top[r, :, i, j] = part.amax([1, 2])
    return (top,)
