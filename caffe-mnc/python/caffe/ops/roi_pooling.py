"""RoI pooling (Fast R-CNN): the maximum over each bin of a RoI rounded to whole map pixels.

    bin p of P covers rows y1 + floor(p * b) .. y1 + ceil((p + 1) * b) - 1, b = (y2 - y1 + 1) / P,
    clipped to the map; an empty bin gives 0. Of equal maxima the first in row-major order counts.

Differentiable in the features only. As in the original, a pixel takes gradient only inside the
unclipped RoI and only from bins that its own position points at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from caffe.ops.layout import channels_second, computable
from caffe.ops.rois import check_images, check_inputs, feature_rows, roi_chunks, rounded_corners


def roi_pooling(features: Tensor, rois: Tensor, pooled_h: int, pooled_w: int,
                spatial_scale: float = 1.0) -> Tensor:
    """(N, C, H, W) features and (R, 5) rois -> (R, C, pooled_h, pooled_w), channels-last."""
    check_inputs("roi_pooling", features, rois, (pooled_h, pooled_w))
    check_images("roi_pooling", rois, features.shape[0])
    return roi_pooling_forward(features, rois, pooled_h, pooled_w, spatial_scale)[0]


@torch.library.custom_op("caffe::roi_pooling", mutates_args=())
def roi_pooling_forward(features: Tensor, rois: Tensor, pooled_h: int, pooled_w: int,
                        spatial_scale: float) -> tuple[Tensor, Tensor]:
    """The pooled values and, of the same shape, h * W + w of each maximum (int32, -1: none)."""
    height, width = features.shape[2:]
    rois = computable(rois)
    x1, y1, x2, y2 = rounded_corners(rois, spatial_scale)
    y, x = _Bins.of(y1, y2, pooled_h, height), _Bins.of(x1, x2, pooled_w, width)
    rows = feature_rows(computable(features))
    shape = (rois.shape[0], pooled_h, pooled_w, rows.shape[1])
    top = rows.new_full(shape, torch.finfo(rows.dtype).min)
    where = torch.full(shape, -1, dtype=torch.int32, device=rows.device)
    first_row = rois[:, 0].long() * (height * width)        # of the RoI's image
    for part in roi_chunks(shape[0], pooled_h * pooled_w * shape[3]):
        pixels = _Pixels(first_row[part], y.part(part), x.part(part), width)
        _scan(rows, pixels, top[part], where[part])
    top.masked_fill_(where < 0, 0)
    return channels_second(top, features.dtype), where.permute(0, 3, 1, 2)


@torch.library.custom_op("caffe::roi_pooling_backward", mutates_args=())
def roi_pooling_backward(grad: Tensor, where: Tensor, features: Tensor, rois: Tensor,
                         spatial_scale: float) -> Tensor:
    """d features at the maximum of each bin += grad of that bin"""
    images, channels, height, width = features.shape
    grad, rois = computable(grad), computable(rois)
    x1, y1, x2, y2 = (c[:, None, None, None] for c in rounded_corners(rois, spatial_scale))
    where, grad = where.permute(0, 2, 3, 1), grad.permute(0, 2, 3, 1)       # (R, P, Q, C)
    h, w = where.clamp(min=0) // width, where.clamp(min=0) % width
    bin_y = torch.arange(where.shape[1], device=grad.device)[None, :, None, None]
    bin_x = torch.arange(where.shape[2], device=grad.device)[None, None, :, None]
    counts = ((where >= 0) & _points_at(h, y1, y2, bin_y, where.shape[1])
              & _points_at(w, x1, x2, bin_x, where.shape[2]))
    row = rois[:, 0].long()[:, None, None, None] * (height * width) + where.clamp(min=0)
    cell = row * channels + torch.arange(channels, device=grad.device)
    flat = grad.new_zeros(images * height * width * channels)
    flat.index_add_(0, cell.reshape(-1), (grad * counts).reshape(-1))
    return channels_second(flat.view(images, height, width, channels), features.dtype)


@roi_pooling_forward.register_fake
def _(features, rois, pooled_h, pooled_w, spatial_scale):
    shape = (rois.shape[0], pooled_h, pooled_w, features.shape[1])
    top = features.new_empty(shape).permute(0, 3, 1, 2)
    return top, torch.empty_like(top, dtype=torch.int32)


@roi_pooling_backward.register_fake
def _(grad, where, features, rois, spatial_scale):
    images, channels, height, width = features.shape
    return features.new_empty((images, height, width, channels)).permute(0, 3, 1, 2)


def _setup_context(ctx, inputs, output):
    features, rois, _, _, ctx.spatial_scale = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1], features, rois)


def _backward(ctx, grad, _):
    d_features = None
    if ctx.needs_input_grad[0]:
        d_features = roi_pooling_backward(grad, *ctx.saved_tensors, ctx.spatial_scale)
    return d_features, None, None, None, None


roi_pooling_forward.register_autograd(_backward, setup_context=_setup_context)


@dataclass(frozen=True)
class _Bins:
    """First pixel and length of each bin along one axis, clipped to the map: (R, P) int64."""

    start: Tensor
    length: Tensor

    @classmethod
    def of(cls, first: Tensor, last: Tensor, bins: int, size: int) -> _Bins:
        """first, last: (R,) rounded corners."""
        k = torch.arange(bins, dtype=first.dtype, device=first.device)
        first, each = first[:, None], _bin_size(first, last, bins)[:, None]
        start = ((k * each).floor() + first).clamp(0, size)
        end = (((k + 1) * each).ceil() + first).clamp(0, size)
        return cls(start.long(), (end - start).clamp(min=0).long())

    def part(self, rois: slice) -> _Bins:
        return _Bins(self.start[rois], self.length[rois])


def _bin_size(first: Tensor, last: Tensor, bins: int) -> Tensor:
    return (last - first + 1).clamp(min=1) / bins


@dataclass(frozen=True)
class _Pixels:
    """The pixels of all bins, one of each bin at a time, in row-major order."""

    first_row: Tensor       # (R,) of the RoI's image among the rows of the map
    y: _Bins
    x: _Bins
    width: int

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """(R, P, Q) each: is there one, its place in the image, its row."""
        for dy in range(int(self.y.length.amax())):
            for dx in range(int(self.x.length.amax())):
                present = (dy < self.y.length)[:, :, None] & (dx < self.x.length)[:, None, :]
                place = ((self.y.start + dy)[:, :, None] * self.width
                         + (self.x.start + dx)[:, None, :])
                yield present, place, torch.where(present, self.first_row[:, None, None] + place, 0)


def _scan(rows: Tensor, pixels: _Pixels, top: Tensor, where: Tensor) -> None:
    """Walk all bins at once, keeping maximum and place: (R, P, Q, C)."""
    for present, place, row in pixels:
        value = rows[row]
        better = present[..., None] & (value > top)
        top.copy_(torch.where(better, value, top))
        where.copy_(torch.where(better, place[..., None], where))


def _points_at(pixel: Tensor, first: Tensor, last: Tensor, bin: Tensor, bins: int) -> Tensor:
    """True where `bin` is among those that pixel, by its place between the corners, falls in."""
    each = _bin_size(first, last, bins)
    offset = pixel - first
    return ((offset >= 0) & (pixel <= last) & (bin >= (offset / each).floor())
            & (bin < ((offset + 1) / each).ceil()))
