"""Proposals and the stage bridge in tensors: what test nets on a GPU run, so that none leaves it,
and what files of nets hold (pylayer.tensor_forms).

The same arithmetic as mnc.boxes.proposals and mnc.sampling.stage_bridge, which work on arrays and
have the gradients as well; tests hold these against those. Image sizes are (height, width), of
numbers or of tensors without axes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from caffe import ops
from mnc.boxes.proposals import ProposalLimits
from mnc.boxes.regression import MOST_GROWTH

Size = tuple[float, float] | tuple[Tensor, Tensor]


def propose(scores: Tensor, deltas: Tensor, anchors: Tensor, image_size: Size,
            limits: ProposalLimits) -> tuple[Tensor, Tensor]:
    """(RoIs (R, 5) of image 0, best score first; the anchor (R,) of each).

    scores (T,), deltas (T, 4), anchors (T, 4): one row an anchor.
    """
    boxes = clip(decode(anchors, deltas), image_size)
    large = (boxes[:, 2:] - boxes[:, :2] + 1 >= limits.min_size).all(1)
    if torch.compiler.is_exporting():       # no numbers of rows that depend on values, but one
        scores = torch.where(large & ~scores.isnan(), scores, -torch.inf)
        most = torch.sym_min(scores.shape[0], limits.pre_nms or scores.shape[0])
        keep = scores.sort(descending=True, stable=True).indices[:most]
        dets = torch.cat((boxes[keep], scores[keep, None]), 1)
        keep = keep[ops.nms(dets, limits.nms_thresh, limits.inclusive_nms, limits.post_nms)]
        return with_image_index(boxes[keep]), keep
    large = (large & ~scores.isnan()).nonzero()[:, 0]
    order = scores[large].sort(descending=True, stable=True).indices[:limits.pre_nms or None]
    keep = large[order]
    dets = torch.cat((boxes[keep], scores[keep, None]), 1)
    keep = keep[ops.nms(dets, limits.nms_thresh, limits.inclusive_nms, limits.post_nms)]
    return with_image_index(boxes[keep]), keep


def move_rois(rois: Tensor, bbox_pred: Tensor, scores: Tensor, image_size: Size,
              foreground_only: bool) -> Tensor:
    """`rois` (R, 5) moved by the deltas (R, 4K) of their best class by `scores` (R, K), clipped."""
    first = int(foreground_only)
    classes = first + scores[:, first:].argmax(1)
    deltas = bbox_pred.reshape(rois.shape[0], scores.shape[1], 4)
    deltas = deltas[torch.arange(rois.shape[0], device=rois.device), classes]
    return with_image_index(clip(decode(rois[:, 1:], deltas), image_size))


def decode(boxes: Tensor, deltas: Tensor) -> Tensor:
    """`deltas` (N, 4) applied to `boxes` (N, 4): mnc.boxes.regression.bbox_transform_inv"""
    size = boxes[:, 2:] - boxes[:, :2] + 1
    centre = deltas[:, :2] * size + (boxes[:, :2] + 0.5 * size)
    half = 0.5 * (deltas[:, 2:].clamp(max=MOST_GROWTH).exp() * size)
    return torch.cat((centre - half, centre + half), 1)


def bounded_growth(deltas: Tensor, most: float) -> Tensor:
    """`deltas` (N, 4K) with dw and dh of at most `most`; above MOST_GROWTH `decode` bounds them."""
    if most >= MOST_GROWTH:
        return deltas
    shift, growth = deltas.reshape(deltas.shape[0], deltas.shape[1] // 4, 2, 2).unbind(2)
    return torch.stack((shift, growth.clamp(max=most)), 2).reshape(deltas.shape)


def clip(boxes: Tensor, image_size: Size) -> Tensor:
    """Boxes (N, 4) inside the image."""
    last_y, last_x = (torch.as_tensor(side, dtype=boxes.dtype, device=boxes.device) - 1
                      for side in image_size)
    x = torch.minimum(boxes[:, 0::2].clamp(min=0), last_x)
    y = torch.minimum(boxes[:, 1::2].clamp(min=0), last_y)
    return torch.stack((x, y), 2).flatten(1)


def with_image_index(boxes: Tensor) -> Tensor:
    """(R, 4) -> (R, 5): RoIs of image 0."""
    return torch.cat((torch.zeros_like(boxes[:, :1]), boxes), 1)
