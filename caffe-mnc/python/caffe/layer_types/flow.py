"""Optical flow: ChannelNorm, Downsample, FlowWarp and Resample of FlowNet2."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, TorchLayer, between, exactly
from caffe.layer_types.axes import expect_rank
from caffe.layer_types.deformable import linear_samples
from caffe.layer_types.upsampling import Resize


@LAYERS.register("ChannelNorm")
class ChannelNorm(TorchLayer):
    """top (N, 1, H, W) = sqrt(sum of x^2 over channels); no gradient where it is 0 (FlowNet2)"""

    num_bottom = exactly(1)
    num_top = exactly(1)

    def check(self, *shapes):
        expect_rank(self, shapes[0], 4, "the bottom")

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [(shapes[0][0], 1, *shapes[0][2:])]

    def compute(self, x: Tensor) -> Tensor:
        return torch.linalg.vector_norm(x, dim=1, keepdim=True)


@LAYERS.register("FlowWarp")
class FlowWarp(TorchLayer):
    """top[n, c, y, x] = image[n, c] at (x + flow[n, 0, y, x], y + flow[n, 1, y, x]) (FlowNet2)

    bottom: image (N, C, H, W), flow (N, 2, H, W) in pixels. Linear between four pixels, the last
    row and column going on for a pixel; outside fill_value, ZERO or NOT_A_NUMBER.
    """

    num_bottom = exactly(2)
    num_top = exactly(1)

    def check(self, *shapes):
        expect_rank(self, shapes[0], 4, "bottom 0 (image)")
        wanted = (shapes[0][0], 2, *shapes[0][2:])
        if shapes[1] != wanted:
            raise LayerError(f"{self.title}: bottom 1 (flow) must be {wanted}, got {shapes[1]}")

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [shapes[0]]

    def compute(self, image: Tensor, flow: Tensor) -> Tensor:
        options, (height, width) = self.param.flow_warp_param, image.shape[2:]
        rows, columns = (torch.arange(n, dtype=flow.dtype, device=flow.device)
                         for n in (height, width))
        x, y = flow[:, 0] + columns, flow[:, 1] + rows[:, None]             # (N, H, W)
        warped = linear_samples(image[:, None], y[:, None, None], x[:, None, None])[:, :, 0]
        if options.fill_value == options.ZERO:
            return warped
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        return torch.where(inside[:, None], warped, math.nan)


class ResizeLike(Resize):
    """To the size that the options give, or that of a second bottom"""

    num_bottom = between(1, 2)
    no_gradient = (1,)

    def own_size(self, height: int, width: int) -> tuple[int, int]:
        """The size without a second bottom, of a bottom (N, C, height, width)."""
        raise NotImplementedError

    def size(self, *shapes):
        return shapes[1][2:] if len(shapes) == 2 else self.own_size(*shapes[0][2:])


@LAYERS.register("Downsample")
class Downsample(ResizeLike):
    """Means around rows o (H - 1) / (H' - 1), weights falling to 0 at the next one (FlowNet2)

    H' is top_height or that of bottom 1; columns alike. NaN counts nothing, and where more than a
    third of the weights is on NaN the top is NaN. The original passes no gradient back; this does.
    """

    def own_size(self, height, width):
        options = self.param.downsample_param
        return options.top_height, options.top_width

    def check(self, *shapes):
        super().check(*shapes)
        for n, length in zip(shapes[0][2:], self.size(*shapes)):
            if length > n or length == 1 < n:
                raise LayerError(f"{self.title}: makes planes smaller, to 2 x 2 at least, but a "
                                 f"bottom of shape {shapes[0]} would become {self.size(*shapes)}")

    def compute(self, x: Tensor, *like: Tensor) -> Tensor:
        size = self.size(*(tuple(b.shape) for b in (x, *like)))
        down, right = (self._weights(x, n, length) for n, length in zip(x.shape[2:], size))
        nan = x.detach().isnan()
        unknown, known = (down @ part.to(x.dtype) @ right.T for part in (nan, ~nan))
        total = down @ torch.where(nan, 0, x) @ right.T
        mean = total / torch.where(known > 0, known, 1)
        return torch.where(unknown > known / 2, math.nan, mean)

    def _weights(self, x: Tensor, n: int, length: int) -> Tensor:
        """(length, n): of each row for each row of the top"""
        step = (n - 1) / max(1, length - 1) or 1
        top, bottom = (torch.arange(m, dtype=x.dtype, device=x.device) for m in (length, n))
        return (1 - (bottom - (top * step)[:, None]).abs() / step).clamp(min=0)


@LAYERS.register("Resample")
class Resample(ResizeLike):
    """NEAREST, LINEAR or CUBIC, to width and height, by factor, or to bottom 1's size (FlowNet2)

    Row o reads around o f + g / 2 - 0.5, f = H / H', g = W / W', columns with f and g exchanged:
    the two offsets are swapped, as in the original. Where one of f, g is above 1 and `antialias`
    is on, kernels are f and g times as wide. Weights inside the map are made to sum to 1. The
    original passes no gradient back; this does.
    """

    def setup(self, bottom, top):
        options = self.param.resample_param
        if options.type == options.AREA:
            raise LayerError(f"{self.title}: type AREA is not here; use NEAREST, LINEAR or CUBIC")

    def own_size(self, height, width):
        options = self.param.resample_param
        if options.HasField("factor"):
            return int(height * options.factor), int(width * options.factor)
        return options.height, options.width

    def compute(self, x: Tensor, *like: Tensor) -> Tensor:
        options, size = self.param.resample_param, self.size(*(tuple(b.shape) for b in (x, *like)))
        steps = [n / length for n, length in zip(x.shape[2:], size)]
        wider = options.antialias and max(steps) > 1
        places = [torch.arange(n, dtype=x.dtype, device=x.device) * step + other / 2 - 0.5
                  for n, step, other in zip(size, steps, steps[::-1])]
        if options.type == options.NEAREST:
            rows, columns = ((at + 0.5).floor().clamp(0, n - 1).long()
                             for at, n in zip(places, x.shape[2:]))
            return x[:, :, rows][..., columns]
        kernel = _cubic if options.type == options.CUBIC else _linear
        down, right = (_shares(kernel, at, n, step if wider else 1)
                       for at, n, step in zip(places, x.shape[2:], steps))
        return down @ x @ right.T


def _shares(kernel, at: Tensor, n: int, width: float) -> Tensor:
    """(len(at), n): the kernel around each place, `width` pixels a unit; 0 where it meets none"""
    pixels = torch.arange(n, dtype=at.dtype, device=at.device)
    weights = kernel((at[:, None] - pixels).abs() / width)
    total = weights.sum(1, keepdim=True)
    return torch.where(total == 0, 0, weights / total)


def _linear(u: Tensor) -> Tensor:
    return (1 - u).clamp(min=0)


def _cubic(u: Tensor) -> Tensor:
    """Keys' kernel with a = -1/2"""
    near, far = u * u * (1.5 * u - 2.5) + 1, u * (u * (2.5 - 0.5 * u) - 4) + 2
    return torch.where(u <= 1, near, torch.where(u < 2, far, 0))
