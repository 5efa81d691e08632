"""RoI warping: a RoI resampled to a fixed size, differentiable in the features and in the RoI.

    top[r, c, p, q] = bilinear(features[n_r, c], y1 + p * (y2 - y1) / P, x1 + q * (x2 - x1) / Q)

One sample a bin, at its first corner. Two modes:

REFERENCE (0), the public MNC code. Corners are rounded to whole map pixels. The gradients are not
    the adjoint of the forward pass: a pixel takes gradient only inside its rounded RoI and only
    from bins near it, reckoned with a RoI one pixel larger; the coordinates take none from samples
    outside the map (the public code reads memory before the map there) or in its last row or
    column.
EXACT (1), equations 6 to 9 of the paper. Corners are continuous, the map is 0 outside, the
    gradients are the true derivatives; at the kinks on whole pixels from the right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from caffe.ops.bilinear import Taps, clamped_taps, zero_padded_taps
from caffe.ops.layout import channels_second, computable
from caffe.ops.mode import Mode, check_mode
from caffe.ops.rois import check_images, check_inputs, feature_rows, roi_chunks, rounded_corners


def roi_warping(features: Tensor, rois: Tensor, pooled_h: int, pooled_w: int,
                spatial_scale: float = 1.0, mode: int = Mode.REFERENCE) -> Tensor:
    """(N, C, H, W) features and (R, 5) rois -> (R, C, pooled_h, pooled_w), channels-last."""
    _check("roi_warping", features, rois, pooled_h, pooled_w, mode)
    if torch.compiler.is_exporting():       # others have no such operator
        return _in_torch(features, _Grid.of(rois, features.shape, (pooled_h, pooled_w),
                                            spatial_scale, mode))
    return roi_warping_forward(features, rois, pooled_h, pooled_w, spatial_scale, int(mode))


def roi_warping_pooled(features: Tensor, rois: Tensor, pooled_h: int, pooled_w: int,
                       spatial_scale: float = 1.0, mode: int = Mode.REFERENCE) -> Tensor:
    """The 2 x 2 maxima of roi_warping to (2 pooled_h, 2 pooled_w): (R, C, pooled_h, pooled_w)

    For inference: it has no gradient. The native kernels do not write the large warping at all.
    """
    _check("roi_warping_pooled", features, rois, pooled_h, pooled_w, mode)
    return roi_warping_pooled_forward(features, rois, pooled_h, pooled_w, spatial_scale,
                                      int(mode))


def _check(op: str, features: Tensor, rois: Tensor, pooled_h: int, pooled_w: int,
           mode: int) -> None:
    check_inputs(op, features, rois, (pooled_h, pooled_w))
    check_images(op, rois, features.shape[0])
    check_mode(op, mode)


@torch.library.custom_op("caffe::roi_warping", mutates_args=())
def roi_warping_forward(features: Tensor, rois: Tensor, pooled_h: int, pooled_w: int,
                        spatial_scale: float, mode: int) -> Tensor:
    grid = _Grid.of(computable(rois), features.shape, (pooled_h, pooled_w), spatial_scale, mode)
    rows = feature_rows(computable(features))
    top = rows.new_zeros(grid.rois, pooled_h, pooled_w, rows.shape[1])
    for part, scratch in grid.chunks(rows):
        target = top[part].view(-1, rows.shape[1])
        for a, b in _CORNERS:
            weight = grid.outer(part, grid.y.taps.weight[a], grid.x.taps.weight[b])
            torch.index_select(rows, 0, grid.index(part, a, b), out=scratch)
            target += scratch.mul_(weight.view(-1, 1))
    return channels_second(top, features.dtype)


def _in_torch(features: Tensor, grid: _Grid) -> Tensor:
    """The forward pass in operators of torch alone, all RoIs at a time."""
    rows, every = feature_rows(features), slice(None)
    samples = [rows[grid.index(every, a, b)] * grid.outer(
        every, grid.y.taps.weight[a], grid.x.taps.weight[b]).reshape(-1, 1) for a, b in _CORNERS]
    return sum(samples[1:], samples[0]).reshape(
        grid.rois, *grid.pooled, rows.shape[1]).permute(0, 3, 1, 2)


@torch.library.custom_op("caffe::roi_warping_pooled", mutates_args=())
def roi_warping_pooled_forward(features: Tensor, rois: Tensor, pooled_h: int, pooled_w: int,
                               spatial_scale: float, mode: int) -> Tensor:
    warped = roi_warping_forward(features, rois, 2 * pooled_h, 2 * pooled_w, spatial_scale, mode)
    return F.max_pool2d(warped, 2, 2)


@torch.library.custom_op("caffe::roi_warping_backward_features", mutates_args=())
def roi_warping_backward_features(grad: Tensor, features: Tensor, rois: Tensor,
                                  spatial_scale: float, mode: int) -> Tensor:
    """d features[n, c, h, w] = sum of adjoint weight(h, w; r, p, q) * grad[r, c, p, q]"""
    grid = _Grid.of(computable(rois), features.shape, grad.shape[2:], spatial_scale, mode)
    images, channels, height, width = features.shape
    grad = computable(grad).permute(0, 2, 3, 1).contiguous()    # (R, C, P, Q) -> (R, P, Q, C)
    rows = grad.new_zeros(images * height * width, channels)
    for part, scratch in grid.chunks(rows):
        source = grad[part].view(-1, channels)
        for a, b in _CORNERS:
            weight = grid.outer(part, grid.y.adjoint[a], grid.x.adjoint[b])
            torch.mul(source, weight.view(-1, 1), out=scratch)
            rows.index_add_(0, grid.index(part, a, b), scratch)
    return channels_second(rows.view(images, height, width, channels), features.dtype)


@torch.library.custom_op("caffe::roi_warping_backward_rois", mutates_args=())
def roi_warping_backward_rois(grad: Tensor, features: Tensor, rois: Tensor,
                              spatial_scale: float, mode: int) -> Tensor:
    """d x1 = scale * sum (1 - s) dF/dx grad,  d x2 = scale * sum s dF/dx grad

    summed over samples and channels; dF/dx is the slope of the map at the sample, s the sample's
    place in the RoI, 0 at x1 and 1 at x2. Likewise y. Column 0 gets 0.
    """
    grid = _Grid.of(computable(rois), features.shape, grad.shape[2:], spatial_scale, mode)
    rows = feature_rows(computable(features))
    grad = computable(grad).permute(0, 2, 3, 1).contiguous()    # (R, C, P, Q) -> (R, P, Q, C)
    result = torch.zeros_like(rois, memory_format=torch.contiguous_format)
    for part, scratch in grid.chunks(rows):
        source = grad[part].view(-1, rows.shape[1])
        dx: Tensor | float = 0.0        # (R, P, Q) each
        dy: Tensor | float = 0.0
        for a, b in _CORNERS:
            torch.index_select(rows, 0, grid.index(part, a, b), out=scratch)
            taken = scratch.mul_(source).sum(1).view(-1, *grid.pooled)
            dx = dx + grid.outer(part, grid.y.value[a], grid.x.slope[b]) * taken
            dy = dy + grid.outer(part, grid.y.slope[a], grid.x.value[b]) * taken
        share_x, share_y = grid.x.share[part, None, :], grid.y.share[part, :, None]
        corners = ((1 - share_x) * dx, (1 - share_y) * dy, share_x * dx, share_y * dy)
        result[part, 1:] = torch.stack([d.sum((1, 2)) for d in corners], 1) * spatial_scale
    return result


@roi_warping_forward.register_fake
@roi_warping_pooled_forward.register_fake
def _(features, rois, pooled_h, pooled_w, spatial_scale, mode):
    shape = (rois.shape[0], pooled_h, pooled_w, features.shape[1])
    return features.new_empty(shape).permute(0, 3, 1, 2)


@roi_warping_backward_features.register_fake
def _(grad, features, rois, spatial_scale, mode):
    images, channels, height, width = features.shape
    return features.new_empty((images, height, width, channels)).permute(0, 3, 1, 2)


@roi_warping_backward_rois.register_fake
def _(grad, features, rois, spatial_scale, mode):
    return rois.new_empty(rois.shape)


def _setup_context(ctx, inputs, output):
    features, rois, _, _, ctx.spatial_scale, ctx.mode = inputs
    ctx.save_for_backward(features, rois)


def _backward(ctx, grad):
    features, rois = ctx.saved_tensors
    arguments = (grad, features, rois, ctx.spatial_scale, ctx.mode)
    wants_features, wants_rois = ctx.needs_input_grad[:2]
    d_features = roi_warping_backward_features(*arguments) if wants_features else None
    d_rois = roi_warping_backward_rois(*arguments) if wants_rois else None
    return d_features, d_rois, None, None, None, None


roi_warping_forward.register_autograd(_backward, setup_context=_setup_context)


_CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))     # (row tap, column tap) of a bilinear sample


@dataclass(frozen=True)
class _Axis:
    """One axis of every RoI at its P sample points; weights are (2, R, P), low and high tap."""

    taps: Taps          # what the forward pass reads
    adjoint: Tensor     # weights of the feature gradient
    value: Tensor       # weights of the coordinate gradient: interpolation along this axis,
    slope: Tensor       # and derivative along this axis
    share: Tensor       # (R, P) part of a sample's motion due to the RoI's last corner


def _reference_axis(first: Tensor, last: Tensor, bins: int, size: int) -> _Axis:
    """first, last: (R, 1) rounded corners."""
    k = torch.arange(bins, dtype=first.dtype, device=first.device)
    point = first + k * ((last - first).clamp(min=0) / bins)
    taps = clamped_taps(point, size)
    pixel = taps.pixel.to(first.dtype)
    wide = (last - first + 1).clamp(min=1) / bins       # bins of the gradients are wider
    near = ((k >= ((pixel - first - 1) / wide - 1).floor())
            & (k < ((pixel - first + 1) / wide).ceil()))
    adjoint = taps.weight * (near & (pixel >= first) & (pixel <= last))
    inside = (point >= -0.5) & (point <= size - 0.5)
    smooth = inside & (pixel[0] + 1 <= size - 1)
    share = torch.where(smooth, (point.clamp(min=0) - first) / wide / bins, 0)
    return _Axis(taps, adjoint, value=taps.weight * smooth,
                 slope=torch.stack((-smooth.to(first.dtype), smooth.to(first.dtype))),
                 share=share)


def _exact_axis(first: Tensor, last: Tensor, bins: int, size: int) -> _Axis:
    """first, last: (R, 1) continuous corners."""
    k = torch.arange(bins, dtype=first.dtype, device=first.device)
    point = first + (last - first).clamp(min=0) * k / bins
    taps = zero_padded_taps(point, size)
    low = point.floor()
    in_map = torch.stack(((low >= 0) & (low <= size - 1), (low >= -1) & (low <= size - 2)))
    slope = in_map * torch.tensor([-1, 1], dtype=first.dtype, device=first.device).view(2, 1, 1)
    share = (k / bins) * (last >= first)                # an inverted RoI is a point at `first`
    return _Axis(taps, adjoint=taps.weight, value=taps.weight, slope=slope, share=share)


@dataclass(frozen=True)
class _Grid:
    """The sample points of all RoIs on a map of (height, width) stored as rows of channels."""

    y: _Axis
    x: _Axis
    image: Tensor                   # (R,) int64
    map_size: tuple[int, int]
    pooled: tuple[int, int]         # (P, Q)

    @classmethod
    def of(cls, rois: Tensor, shape: torch.Size, pooled: Sequence[int], spatial_scale: float,
           mode: int) -> _Grid:
        if mode == Mode.EXACT:
            axis, corners = _exact_axis, (rois[:, 1:] * spatial_scale).unbind(1)
        else:
            axis, corners = _reference_axis, rounded_corners(rois, spatial_scale)
        x1, y1, x2, y2 = (c[:, None] for c in corners)
        return cls(axis(y1, y2, pooled[0], shape[2]), axis(x1, x2, pooled[1], shape[3]),
                   rois[:, 0].long(), (shape[2], shape[3]), (pooled[0], pooled[1]))

    @property
    def rois(self) -> int:
        return self.image.shape[0]

    def chunks(self, rows: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Some RoIs at a time, with a buffer of one row of channels a sample that is used again."""
        samples, channels = self.pooled[0] * self.pooled[1], rows.shape[1]
        buffer = rows.new_empty(0)
        for part in roi_chunks(self.rois, samples * channels):
            count = (part.stop - part.start) * samples
            buffer = buffer[:count] if len(buffer) >= count else rows.new_empty(count, channels)
            yield part, buffer

    def index(self, part: slice, a: int, b: int) -> Tensor:
        """Row of the map that row tap a and column tap b of each sample read: (part*P*Q,)"""
        height, width = self.map_size
        row = self.image[part, None] * height + self.y.taps.pixel[a, part]
        return (row[:, :, None] * width + self.x.taps.pixel[b, part, None, :]).view(-1)

    @staticmethod
    def outer(part: slice, along_y: Tensor, along_x: Tensor) -> Tensor:
        """(R, P) and (R, Q) -> (part, P, Q)"""
        return along_y[part, :, None] * along_x[part, None, :]
