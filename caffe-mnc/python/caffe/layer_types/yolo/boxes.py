"""Predictions, true boxes and overlaps of YOLO."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from caffe import ops

TRUTH = 5       # numbers an object: class, x, y, width, height


@dataclass(frozen=True)
class Truth:
    """The objects of an image: class (T,), boxes (T, 4)"""

    labels: Tensor
    boxes: Tensor


def truths(rows: Tensor, images: int) -> list[Truth]:
    """The objects of each image from rows of 5 numbers, up to the first with x = 0."""
    found = []
    each = math.prod(rows.shape[1:]) // TRUTH
    for image in rows.detach().reshape(images, each, TRUTH):
        image = image[(image[:, 1] == 0).cumsum(0) == 0]
        found.append(Truth(image[:, 0].long(), image[:, 1:]))
    return found


def by_anchor(x: Tensor, anchors: int) -> Tensor:
    """(N, A * F, H, W) -> (N, A, F, H, W)"""
    return x.reshape(len(x), anchors, x.shape[1] // anchors, *x.shape[2:])


def cells(x: Tensor) -> Tensor:
    """(2, H, W): column and row of each cell of (N, A, F, H, W)"""
    rows, columns = (torch.arange(n, dtype=x.dtype, device=x.device) for n in x.shape[3:])
    return torch.stack(torch.broadcast_tensors(columns[None, :], rows[:, None]))


def decode(offset: Tensor, log_size: Tensor, anchors: Tensor, unit: float = 1) -> Tensor:
    """Boxes (N, A, 4, H, W): centres at `offset` (N, A, 2, H, W) in their cells; sizes are anchors
    (A, 2) times exp(log_size); an anchor of `unit` is one cell large.
    """
    count = offset.new_tensor(offset.shape[:2:-1]).reshape(2, 1, 1)
    centre = (cells(offset) + offset) / count
    size = log_size.exp() * anchors[:, :, None, None] / (count * unit)
    return torch.cat((centre, size), 2)


def overlaps(a: Tensor, b: Tensor) -> Tensor:
    """(P, 4), (T, 4) -> (P, T) intersection over union; 0 where there is none"""
    low = torch.maximum((a[:, :2] - a[:, 2:] / 2)[:, None], (b[:, :2] - b[:, 2:] / 2)[None])
    high = torch.minimum((a[:, :2] + a[:, 2:] / 2)[:, None], (b[:, :2] + b[:, 2:] / 2)[None])
    both = (high - low).clamp(min=0).prod(2)
    union = a[:, 2:].prod(1)[:, None] + b[:, 2:].prod(1) - both
    return torch.where(both > 0, both / union, 0)


def generalized_overlap(a: Tensor, b: Tensor, *, hull: bool) -> Tensor:
    """IoU of two boxes (4,), less the share of their hull that neither covers (GIoU) if `hull`"""
    (low_a, high_a), (low_b, high_b) = (corners(x).split(2) for x in (a, b))
    both = (torch.minimum(high_a, high_b) - torch.maximum(low_a, low_b)).clamp(min=0).prod()
    union = a[2:].prod() + b[2:].prod() - both
    around = (torch.maximum(high_a, high_b) - torch.minimum(low_a, low_b)).prod()
    return both / union - ((around - union) / around if hull else 0)


def shape_overlaps(sizes: Tensor, size: Tensor) -> Tensor:
    """(A,): IoU of sizes (A, 2) with one size (2,), all with the same centre"""
    zeros = torch.zeros_like(sizes)
    return overlaps(torch.cat((zeros, sizes), 1), torch.cat((zeros[0], size))[None])[:, 0]


def corners(boxes: Tensor) -> Tensor:
    """(..., 4): xmin, ymin, xmax, ymax"""
    half = boxes[..., 2:] / 2
    return torch.cat((boxes[..., :2] - half, boxes[..., :2] + half), -1)


def suppress(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Rows that survive, best score first: a box goes if its IoU with a better one >= threshold"""
    last = boxes.new_tensor([0, 0, 1, 1], dtype=torch.float64)      # which the operator adds
    rows = torch.cat((corners(boxes).double() - last, scores.double()[:, None]), 1)
    return ops.nms(rows, threshold, inclusive=True)
