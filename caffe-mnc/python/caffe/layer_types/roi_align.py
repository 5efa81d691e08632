"""ROIAlign, two layers of one name: of MS-CNN and Cascade R-CNN, and of makefile/frcnn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from caffe.engine.layer import LAYERS, Layer
from caffe.layer_types.region import RegionLayer
from caffe.ops.rois import check_images

# Where the four samples of a bin of makefile/frcnn lie, in shares of it.
FOUR = ((0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75))
CENTRE = ((0.5, 0.5),)


@LAYERS.register("ROIAlign")
def roi_align(param: Any, *args: Any) -> Layer:
    """Linear samples at the corners of a RoI's grid (MS-CNN, Cascade R-CNN; makefile/frcnn another)

    An object of GridCornerAlign; of BinMaximumAlign for bi_type or is_multi_interpolate.
    """
    options = param.roi_pooling_param
    other = options.HasField("bi_type") or options.HasField("is_multi_interpolate")
    return (BinMaximumAlign if other else GridCornerAlign)(param, *args)


@dataclass(frozen=True)
class Taps:
    """What is read along one axis: pixels and their weights, each (R, S, taps)."""

    pixels: Tensor
    weights: Tensor


def sampled(features: Tensor, images: Tensor, y: Taps, x: Taps) -> Tensor:
    """(R, C, S, T): sums over taps of weights times features (N, C, H, W)"""
    height, width = features.shape[2:]
    rows = features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])
    place = images[:, None, None, None, None] * height + y.pixels[:, :, None, :, None]
    place = place * width + x.pixels[:, None, :, None, :]                # (R, S, T, taps, taps)
    weights = y.weights[:, :, None, :, None] * x.weights[:, None, :, None, :]
    total = torch.zeros((), dtype=features.dtype, device=features.device)
    for i in range(place.shape[3]):
        for j in range(place.shape[4]):
            total = total + rows[place[..., i, j]] * weights[..., i, j, None]
    return total.permute(0, 3, 1, 2)


class AlignLayer(RegionLayer):
    """What both share: options, and RoIs made wider by pad_ratio of their sides."""

    def setup(self, bottom, top):
        self.take(self.param.roi_pooling_param)
        self.pad = self.param.roi_pooling_param.pad_ratio

    def padded(self, features: Tensor, rois: Tensor) -> tuple[Tensor, Tensor]:
        """The images (R,) and the corners (R, 4) of the RoIs, in pixels of the image"""
        rois = rois.detach().reshape(-1, 5)
        check_images(self.title, rois, features.shape[0])
        corners = rois[:, 1:]
        more = self.pad * (corners[:, 2:] - corners[:, :2] + 1)
        return rois[:, 0].long(), corners + torch.cat((-more, more), 1)


class GridCornerAlign(AlignLayer):
    """top (R, C, pooled_h + 1, pooled_w + 1): samples at the corners of the bins (MS-CNN)

    A RoI is x1 s - 0.5 .. x2 s - 0.5, s = spatial_scale; a sample more than half a pixel outside
    the map is 0, as all are of a RoI without extent. Differentiable in the features only.
    """

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [(shapes[1][0], shapes[0][1], *(n + 1 for n in self.size))]

    def compute(self, features: Tensor, rois: Tensor) -> Tensor:
        images, corners = self.padded(features, rois)
        ends = corners * self.spatial_scale - 0.5
        y, x = (self._taps(ends[:, i], ends[:, i + 2], bins, size)
                for i, bins, size in zip((1, 0), self.size, features.shape[2:]))
        return sampled(features, images, y, x)

    def _taps(self, start: Tensor, end: Tensor, bins: int, size: int) -> Taps:
        share = torch.arange(bins + 1, dtype=start.dtype, device=start.device)
        extent = (end - start)[:, None]
        at = start[:, None] + share * (extent / bins)
        seen = (at >= -0.5) & (at <= size - 0.5) & (extent > 0)
        at = at.clamp(0, size - 1)
        first = at.floor()
        pixels = torch.stack((first, (first + 1).clamp(max=size - 1)), 2).long()
        weights = torch.stack((1 - (at - first), at - first), 2) * seen[..., None]
        return Taps(pixels, weights)


class BinMaximumAlign(AlignLayer):
    """top (R, C, pooled_h, pooled_w): the largest of four samples of each bin (makefile/frcnn)

    is_multi_interpolate false: one sample, the middle. bi_type 0: linear, 0 on the last row and
    column; 1: cubic. A RoI begins at 0 at least, counts its last pixel, and ends before the size of
    the image in pixels of the map. Differentiable in the features only.
    """

    def compute(self, features: Tensor, rois: Tensor) -> Tensor:
        options = self.param.roi_pooling_param
        images, corners = self.padded(features, rois)
        shares = FOUR if options.is_multi_interpolate else CENTRE
        samples = [sampled(features, images, *(
            self._taps(corners[:, i], corners[:, i + 2], bins, size, share)
            for i, bins, size, share in zip((1, 0), self.size, features.shape[2:], at)))
            for at in shares]
        return _largest(samples)

    def _taps(self, start: Tensor, end: Tensor, bins: int, size: int, share: float) -> Taps:
        scale = self.spatial_scale
        start = (start * scale).clamp(min=0)
        end = (end * scale).clamp(max=round(size / scale) - 1)
        extent = (end - start + 1).clamp(min=1)[:, None]
        place = torch.arange(bins, dtype=start.dtype, device=start.device) + share
        at = (start[:, None] + place * (extent / bins)).clamp(0, size - 1)
        return (_cubic if self.param.roi_pooling_param.bi_type else _linear)(at, size)


def _largest(samples: list[Tensor]) -> Tensor:
    """The largest; the gradient goes to the first of equals."""
    stacked = torch.stack(samples)
    return stacked.gather(0, stacked.detach().argmax(0, keepdim=True))[0]


def _linear(at: Tensor, size: int) -> Taps:
    first = at.floor()
    second = (first + 1).clamp(max=size - 1)
    return Taps(torch.stack((first, second), 2).long(),
                torch.stack((second - at, at - first), 2))


def _cubic(at: Tensor, size: int) -> Taps:
    """Of the kernel 1 - 2 u^2 + u^3 (u < 1), 4 - 8 u + 5 u^2 - u^3 (u < 2)"""
    first = at.floor()[..., None] + torch.arange(-1, 3, dtype=at.dtype, device=at.device)
    u = (at[..., None] - first).abs()
    weights = torch.where(u < 1, 1 - 2 * u ** 2 + u ** 3, 4 - 8 * u + 5 * u ** 2 - u ** 3)
    return Taps(first.clamp(0, size - 1).long(), torch.where(u < 2, weights, 0))
