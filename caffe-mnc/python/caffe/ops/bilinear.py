"""Bilinear sampling, axis by axis: a sample point reads two pixels of each axis."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Taps:
    """The low and the high pixel that the sample points of one axis read, with their weights.

    pixel, weight: (2, ...) for points of shape (...); weight 0 where a pixel does not count.
    """

    pixel: Tensor       # int64, always inside the map
    weight: Tensor


def clamped_taps(point: Tensor, size: int) -> Taps:
    """Taps of the original MNC: the border pixel reaches half a pixel out, nothing lies beyond.

    Points outside [-0.5, size - 0.5] get no weight; others are clamped to [0, size - 1].

    point: any shape; the taps have it, too.
    """
    inside = (point >= -0.5) & (point <= size - 0.5)
    point = torch.where(inside, point, 0).clamp(min=0)
    low = point.trunc().clamp(max=size - 1)
    fraction = torch.where(low < size - 1, point - low, 0)
    pixel = torch.stack((low, (low + 1).clamp(max=size - 1))).long()
    return Taps(pixel, torch.stack((1 - fraction, fraction)) * inside)


def zero_padded_taps(point: Tensor, size: int) -> Taps:
    """Taps of a map that is 0 outside: weight max(0, 1 - |point - pixel|) for pixels of the map."""
    low = point.floor()
    fraction = point - low
    pixel = torch.stack((low, low + 1))
    inside = (pixel >= 0) & (pixel <= size - 1)
    weight = torch.where(inside, torch.stack((1 - fraction, fraction)), 0)
    return Taps(torch.where(inside, pixel, 0).long(), weight)


def dense(pixel: Tensor, weight: Tensor, size: int) -> Tensor:
    """(2, P) taps as a matrix (P, size): row p holds the weights of sample p."""
    matrix = weight.new_zeros(weight.shape[1], size)
    return matrix.scatter_add_(1, pixel.T, weight.T)
