"""Codes, overlaps and suppression of boxes (xmin, ymin, xmax, ymax) in shares of the image."""

from __future__ import annotations

import torch
from torch import Tensor

from caffe import ops
from caffe.proto.caffe_pb2 import PriorBoxParameter

LEAST_OVERLAP = 1e-6        # less counts as none


def unpack_priors(prior: Tensor) -> tuple[Tensor, Tensor]:
    """The boxes and the variances, each (P, 4), of what PriorBox makes: (1, 2, 4P)"""
    both = prior.detach().reshape(2, -1, 4)
    return both[0], both[1]


def decode(code_type: int, priors: Tensor, variances: Tensor | float, code: Tensor) -> Tensor:
    """Boxes (..., P, 4) from their codes relative to priors (P, 4)

    CORNER: p + v t.  CORNER_SIZE: p + v t (width, height) of p.  CENTER_SIZE: the centre moves by
    v t (width, height), the size is multiplied by exp(v t).
    """
    moved = variances * code
    if code_type == PriorBoxParameter.CORNER:
        return priors + moved
    centre, size = _centre_and_size(priors)
    if code_type == PriorBoxParameter.CORNER_SIZE:
        return priors + moved * torch.cat((size, size), -1)
    centre = moved[..., :2] * size + centre
    half = moved[..., 2:].exp() * size / 2
    return torch.cat((centre - half, centre + half), -1)


def encode(code_type: int, priors: Tensor, variances: Tensor | float, boxes: Tensor) -> Tensor:
    """The code that `decode` turns into `boxes`; all (M, 4). Sides must be positive."""
    if code_type == PriorBoxParameter.CORNER:
        return (boxes - priors) / variances
    centre, size = _centre_and_size(priors)
    if code_type == PriorBoxParameter.CORNER_SIZE:
        return (boxes - priors) / torch.cat((size, size), -1) / variances
    box_centre, box_size = _centre_and_size(boxes)
    return torch.cat(((box_centre - centre) / size, (box_size / size).log()), -1) / variances


def _centre_and_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    low, high = boxes[..., :2], boxes[..., 2:]
    return (low + high) / 2, high - low


def area(boxes: Tensor) -> Tensor:
    """(N,) 0 for a box whose corners are the wrong way round."""
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1)


def overlaps(a: Tensor, b: Tensor, offset: float = 0.0) -> Tensor:
    """(N, 4), (K, 4) -> (N, K) intersection over union

    offset 1: sides are x2 - x1 + 1, as those of pixels are; boxes apart by less than 1 touch.
    """
    low = torch.maximum(a[:, None, :2], b[None, :, :2])
    high = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    both = (high - low + offset).clamp(min=0).prod(2)
    sizes = [(x[:, 2:] - x[:, :2] + offset).clamp(min=0).prod(1) for x in (a, b)]
    return torch.where(both > 0, both / (sizes[0][:, None] + sizes[1] - both), 0)


def suppress(boxes: Tensor, scores: Tensor, threshold: float, eta: float = 1.0) -> Tensor:
    """Rows of boxes (N, 4) that survive greedy suppression, best score first; ties: lower row

    A box is dropped when its overlap with a better kept one is > threshold. With eta < 1 the
    threshold, as long as it is above 0.5, is multiplied by eta after each box that is kept.
    """
    if eta >= 1:
        # The operator counts the last pixel in: in double, what is taken off here comes back.
        last = boxes.new_tensor([0, 0, 1, 1], dtype=torch.float64)
        return ops.nms(torch.cat((boxes.double() - last, scores.double()[:, None]), 1), threshold)
    kept: list[int] = []
    for i in scores.sort(descending=True, stable=True).indices.tolist():
        if not kept or float(overlaps(boxes[i:i + 1], boxes[kept]).max()) <= threshold:
            kept.append(i)
            if threshold > 0.5:
                threshold *= eta
    return torch.tensor(kept, dtype=torch.int64)
