"""RoIs and the maps of a feature pyramid: which map a RoI is sampled from, and sampling from each.

Each map has half the scale of the one before. A RoI belongs to the finest map on which it covers no
more cells than it has samples, the last one if it does on none:

    level = min { l : (w s / 2^l) (h s / 2^l) <= P Q },  w = x2 - x1, h = y2 - y1, s the first scale
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Sample = Callable[[Tensor, Tensor, float], Tensor]


def level_of(rois: Tensor, samples: tuple[int, int], spatial_scale: float, levels: int) -> Tensor:
    """(R,) int64, from 0 to levels - 1: the map of each of rois (R, 5)."""
    sides = (rois[:, 3:] - rois[:, 1:3]).clamp(min=0) * spatial_scale
    cells = sides.prod(1) / (samples[0] * samples[1])               # on the first map, a sample
    limits = 4.0 ** torch.arange(levels - 1, dtype=cells.dtype, device=cells.device)
    return (cells[:, None] > limits).sum(1)


def across_levels(sample: Sample, maps: Sequence[Tensor], rois: Tensor, samples: tuple[int, int],
                  spatial_scale: float) -> Tensor:
    """(R, C, P, Q): sample(map, its RoIs, its scale), in the order of rois (R, 5).

    maps: (N, C, H_l, W_l), the finest first, at spatial_scale; the place of a RoI among them is not
    differentiated.
    """
    if len(maps) == 1:
        return sample(maps[0], rois, spatial_scale)
    level = level_of(rois.detach(), samples, spatial_scale, len(maps))
    scales = [spatial_scale / 2 ** i for i in range(len(maps))]
    if torch.compiler.is_exporting():       # a file has no sizes that hang on values
        result = sample(maps[0], rois, scales[0])
        for i in range(1, len(maps)):
            result = torch.where((level == i)[:, None, None, None],
                                 sample(maps[i], rois, scales[i]), result)
        return result
    places = [(level == i).nonzero()[:, 0] for i in range(len(maps))]
    parts = [sample(features, rois[rows] if len(rows) < len(rois) else rois, scale)
             for features, rows, scale in zip(maps, places, scales)]
    return _Together.apply(places, *parts)


class _Together(torch.autograd.Function):
    """(R, C, P, Q), channels-last: parts (R_l, C, P, Q), their rows put where `places` (R_l,) says.

    Most often one map has all of them, and nothing is copied.
    """

    @staticmethod
    def forward(ctx, places: list[Tensor], *parts: Tensor) -> Tensor:
        ctx.places, ctx.rows = places, sum(map(len, places))
        for part, rows in zip(parts, places):
            if len(rows) == ctx.rows:
                return part.view_as(part)
        by_pixel = [part.permute(0, 2, 3, 1) for part in parts]
        result = by_pixel[0].new_empty(ctx.rows, *by_pixel[0].shape[1:])
        for part, rows in zip(by_pixel, places):
            result.index_copy_(0, rows, part)
        return result.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        by_pixel = gradient.permute(0, 2, 3, 1)
        return None, *[gradient if len(rows) == ctx.rows else
                       by_pixel.index_select(0, rows).permute(0, 3, 1, 2) for rows in ctx.places]
