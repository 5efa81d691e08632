"""Pooling over windows of a plane."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, TorchLayer, between, exactly
from caffe.layer_types.axes import expect_rank
from caffe.layer_types.window import Window


@LAYERS.register("Pooling")
class Pooling(TorchLayer):
    """MAX: the largest value of each window (padding ignored).  AVE: the mean.

    bottom: (N, C, H, W); top: (N, C, H', W'), and for MAX on request the place h * W + w of each
    maximum, -1 for a window that holds no pixel.
    H' = ceil((H + 2 pad - kernel) / stride) + 1 (floor with round_mode: FLOOR); with padding, a
    last window that starts beyond the image and its first padding is dropped. Without padding it
    stays: MAX gives the lowest float there. AVE counts padding, but not what lies beyond it.
    """

    num_bottom = exactly(1)
    num_top = between(1, 2)

    def setup(self, bottom, top):
        options = self.param.pooling_param
        self.is_max, self.floor = options.pool == options.MAX, options.round_mode == options.FLOOR
        self.with_places = len(top) == 2
        if options.pool == options.STOCHASTIC:
            raise LayerError(f"{self.title}: pool STOCHASTIC is not supported; use MAX or AVE")
        if self.with_places and not self.is_max:
            raise LayerError(f"{self.title}: only pool MAX has a second top")
        self.window = None if options.global_pooling else Window.from_param(self, options, 2)
        if self.window is None:
            self._check_global(options)
        elif any(p >= k for p, k in zip(self.window.pad, self.window.kernel)):
            raise LayerError(f"{self.title}: pad {self.window.pad} must be smaller than the kernel "
                             f"{self.window.kernel}")

    def _check_global(self, options) -> None:
        shaping = ("kernel_size", "kernel_h", "kernel_w", "stride", "stride_h", "stride_w", "pad",
                   "pad_h", "pad_w")
        neutral = {"stride": 1, "stride_h": 1, "stride_w": 1, "pad": 0, "pad_h": 0, "pad_w": 0}
        for name in shaping:
            if options.HasField(name) and getattr(options, name) != neutral.get(name):
                raise LayerError(f"{self.title}: global_pooling takes no {name}")

    def check(self, *shapes):
        expect_rank(self, shapes[0], 4, "the bottom")
        if self.window and min(self.output_size(shapes[0])) < 1:
            raise LayerError(f"{self.title}: kernel {self.window.kernel} is larger than the padded "
                             f"bottom of shape {shapes[0]}")

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [(*shapes[0][:2], *self.output_size(shapes[0]))] * (1 + self.with_places)

    def output_size(self, shape: tuple[int, ...]) -> tuple[int, int]:
        w = self._window_for(shape)
        return tuple(_output_size(*axis, self.floor)
                     for axis in zip(shape[2:], w.kernel, w.stride, w.pad))

    def compute(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        window = self._window_for(x.shape)
        size = self.output_size(x.shape)
        if not self.is_max:
            return _average(x, window, size)
        if not self.with_places and _torch_agrees(x.shape, window, size):
            return F.max_pool2d(x, window.kernel, window.stride, window.pad,
                                ceil_mode=not self.floor)
        return _maximum(x, window, size, self.with_places)

    def _window_for(self, shape: tuple[int, ...]) -> Window:
        return self.window or Window(tuple(shape[2:]), (1, 1), (0, 0), (1, 1))


def _output_size(size: int, kernel: int, stride: int, pad: int, floor: bool) -> int:
    span = size + 2 * pad - kernel
    count = (span if floor else span + stride - 1) // stride + 1
    if pad and (count - 1) * stride >= size + pad:
        count -= 1
    return count


def _torch_agrees(shape: tuple[int, ...], window: Window, size: tuple[int, int]) -> bool:
    """Torch wants pad <= kernel / 2 and always drops a last window that starts in the padding."""
    return all(2 * p <= k and (n - 1) * s < length + p for length, k, s, p, n
               in zip(shape[2:], window.kernel, window.stride, window.pad, size))


def _padded(x: Tensor, window: Window, size: tuple[int, int], value: float) -> Tensor:
    """x with `value` around it (or cut), so that exactly `size` whole windows fit."""
    (top, left), amounts = window.pad, []
    for n, s, k, length, p in zip(size, window.stride, window.kernel, x.shape[2:], window.pad):
        amounts.append((n - 1) * s + k - length - p)
    return F.pad(x, (left, amounts[1], top, amounts[0]), value=value)


def _maximum(x: Tensor, window: Window, size: tuple[int, int],
             with_places: bool) -> Tensor | tuple[Tensor, Tensor]:
    padded = _padded(x, window, size, torch.finfo(x.dtype).min)
    if not with_places:
        return F.max_pool2d(padded, window.kernel, window.stride)
    y, place = F.max_pool2d(padded, window.kernel, window.stride, return_indices=True)
    row = place.div(padded.shape[3], rounding_mode="floor") - window.pad[0]
    column = place % padded.shape[3] - window.pad[1]
    inside = (row >= 0) & (row < x.shape[2]) & (column >= 0) & (column < x.shape[3])
    return y, torch.where(inside, row * x.shape[3] + column, -1).to(x.dtype)


def _average(x: Tensor, window: Window, size: tuple[int, int]) -> Tensor:
    total = F.avg_pool2d(_padded(x, window, size, 0.0), window.kernel, window.stride,
                         divisor_override=1)
    rows, columns = (_covered(*axis, x) for axis in zip(size, window.stride, window.kernel,
                                                        x.shape[2:], window.pad))
    return total / (rows[:, None] * columns)


def _covered(count: int, stride: int, kernel: int, size: int, pad: int, like: Tensor) -> Tensor:
    """How much of each window lies before the end of the padding: (count,)"""
    start = torch.arange(count, dtype=like.dtype, device=like.device) * stride - pad
    return (start + kernel).clamp(max=size + pad) - start
