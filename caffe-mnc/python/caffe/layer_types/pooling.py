"""Pooling over windows of a plane."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import astuple

import torch
import torch.nn.functional as F
from torch import Tensor

from caffe.engine.description import Drawing
from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, TRAIN, Layer, TorchLayer, between, exactly
from caffe.engine.random import generator
from caffe.layer_types.axes import expect_rank
from caffe.layer_types.window import Window, places_in_windows
from caffe.ops.int8 import largest
from caffe.proto.caffe_pb2 import PoolingParameter

MOST_LEVELS = 16        # of a pyramid: a map has no 2^16 rows


@LAYERS.register("Pooling")
class Pooling(TorchLayer):
    """MAX: the largest value of each window (padding ignored).  AVE: the mean.  STOCHASTIC: a value
    drawn with probability x / sum of x in TRAIN, sum of x^2 / sum of x in TEST; x >= 0, no pad.

    bottom: (N, C, H, W); top: (N, C, H', W'), and for MAX on request the place h * W + w of each
    maximum, -1 for a window that holds no pixel.
    H' = ceil((H + 2 pad - kernel) / stride) + 1 (floor with round_mode: FLOOR, which forks call
    ceil_mode: false); with padding, a last window that starts beyond the image and its first
    padding is dropped. Without padding it stays: MAX gives the lowest float there. AVE counts
    padding, but not what lies beyond it.
    """

    num_bottom = exactly(1)
    num_top = between(1, 2)
    owns_output = True
    reads_bottoms_again = False         # but the places of maxima

    @classmethod
    def coordinate_map(cls, options):
        return places_in_windows(cls.__name__, options)

    @classmethod
    def drawing(cls, param):
        options = param.pooling_param
        return Drawing("#FF9900", PoolingParameter.PoolMethod.Name(options.pool),
                       (options.kernel_size, options.stride, options.pad))

    def setup(self, bottom, top):
        options = self.param.pooling_param
        self.method = options.pool
        self.floor = _rounds_down(self, options)
        self.with_places = len(top) == 2
        # torch's operator, and the bottoms it is for
        self._fits: torch.Size | None = None
        self._pool: Callable[[Tensor], Tensor] = torch.clone
        if self.with_places and self.method != options.MAX:
            raise LayerError(f"{self.title}: only pool MAX has a second top")
        self.window = None if options.global_pooling else Window.from_param(self, options, 2)
        if self.window is None:
            self._check_global(options)
        elif any(p >= k for p, k in zip(self.window.pad, self.window.kernel)):
            raise LayerError(f"{self.title}: pad {self.window.pad} must be smaller than the kernel "
                             f"{self.window.kernel}")
        elif self.method == options.STOCHASTIC and any(self.window.pad):
            raise LayerError(f"{self.title}: pool STOCHASTIC takes no pad")
        # of windows that overlap gradients are added
        self.moves_values = self.keeps_low_precision and (self.window is None or (
            self.window.kernel == self.window.stride and not any(self.window.pad)))

    @property
    def keeps_low_precision(self) -> bool:      # type: ignore[override]
        """Maxima are values of the bottom; sums are not, nor are places beyond 256."""
        return self.method == PoolingParameter.MAX and not self.with_places

    @property
    def selects(self) -> bool:          # type: ignore[override]
        return self.keeps_low_precision

    @property
    def halves(self) -> bool:
        """Whether each value is the largest of 2 x 2, side by side, and nothing else is asked."""
        return (self.keeps_low_precision and self.window is not None
                and self.window.kernel == self.window.stride == (2, 2)
                and self.window.pad == (0, 0))

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
        height, width = (_output_size(*axis, self.floor)
                         for axis in zip(shape[2:], w.kernel, w.stride, w.pad))
        return height, width

    def compute(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        if self.window is None and torch.compiler.is_exporting() and not self.with_places \
                and self.method != PoolingParameter.STOCHASTIC:     # of any size there
            average = self.method == PoolingParameter.AVE
            return x.mean((2, 3), True) if average else x.amax((2, 3), True)
        if x.shape == self._fits and x.dtype != torch.uint8 and not torch.compiler.is_exporting():
            return self._pool(x)
        window, size = self._window_for(x.shape), self.output_size(x.shape)
        if self.with_places:
            return _maximum_with_places(x, window, size)
        if torch.compiler.is_exporting():
            if self._rounds_like_others(window):
                return F.max_pool2d(x, window.kernel, window.stride, ceil_mode=not self.floor)
        elif self.method != PoolingParameter.STOCHASTIC and _torch_agrees(x.shape, window, size):
            self._fits = x.shape
            self._pool = _of_torch(self.method, x.shape, window, size)
        return pool(self.method, x, window, size, train=self.phase == TRAIN)

    def _rounds_like_others(self, window: Window) -> bool:
        """Whether every runtime has these maxima: in graphs of any size nothing else may differ."""
        return (self.method == PoolingParameter.MAX and not any(window.pad)
                and all(s <= k for s, k in zip(window.stride, window.kernel)))

    def _window_for(self, shape: tuple[int, ...]) -> Window:
        return self.window or Window(tuple(shape[2:]), (1, 1), (0, 0), (1, 1))


@LAYERS.register("SPP")
class SPP(TorchLayer):
    """Spatial pyramid pooling: level l pools into 2^l x 2^l windows, (N, C * sum of 4^l)

    Windows of a level have one size, ceil(H / 2^l), and half of what they exceed the map by is
    padding. With pyramid_height 1 the top is (N, C, 1, 1).
    """

    num_bottom = exactly(1)
    num_top = exactly(1)
    reads_bottoms_again = False

    def setup(self, bottom, top):
        options = self.param.spp_param
        self.height, self.method = options.pyramid_height, options.pool
        if not 1 <= self.height <= MOST_LEVELS:
            raise LayerError(f"{self.title}: pyramid_height must be in 1 .. {MOST_LEVELS}, got "
                             f"{self.height}")

    def check(self, *shapes):
        expect_rank(self, shapes[0], 4, "the bottom")
        for level in range(self.height):
            window = self.window(level, shapes[0])
            if any(p >= k for p, k in zip(window.pad, window.kernel)):
                raise LayerError(f"{self.title}: a bottom of shape {shapes[0]} is too small for "
                                 f"the {2 ** level} x {2 ** level} windows of pyramid_height "
                                 f"{self.height}")
            if self.method == PoolingParameter.STOCHASTIC and any(window.pad):
                raise LayerError(f"{self.title}: pool STOCHASTIC takes no pad, but shape "
                                 f"{shapes[0]} is not a multiple of {2 ** level}")

    def window(self, level: int, shape: tuple[int, ...]) -> Window:
        """The windows of a level: they touch each other."""
        bins = 2 ** level
        kernel = tuple(-(-n // bins) for n in shape[2:])
        pad = tuple((k * bins - n + 1) // 2 for k, n in zip(kernel, shape[2:]))
        return Window(kernel, kernel, pad, (1, 1))

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        images, channels = shapes[0][:2]
        if self.height == 1:
            return [(images, channels, 1, 1)]
        return [(images, channels * sum(4 ** level for level in range(self.height)))]

    def compute(self, x: Tensor) -> Tensor:
        levels = [pool(self.method, x, self.window(level, x.shape), (2 ** level,) * 2,
                       train=self.phase == TRAIN) for level in range(self.height)]
        return levels[0] if self.height == 1 else torch.cat([y.flatten(1) for y in levels], 1)


def _rounds_down(layer: Layer, options: PoolingParameter) -> bool:
    """Whether the output size is rounded down: round_mode, or ceil_mode in the words of forks."""
    floor = options.round_mode == options.FLOOR
    if not options.HasField("ceil_mode"):
        return floor
    if options.HasField("round_mode") and floor == options.ceil_mode:
        raise LayerError(f"{layer.title}: round_mode and ceil_mode contradict each other; give one")
    return not options.ceil_mode


def _output_size(size: int, kernel: int, stride: int, pad: int, floor: bool) -> int:
    span = size + 2 * pad - kernel
    count = (span if floor else span + stride - 1) // stride + 1
    # the last window must begin before the end of the padding; sizes may be symbols of torch.export
    return torch.sym_min(count, (size + pad + stride - 1) // stride) if pad else count


def _torch_agrees(shape: tuple[int, ...], window: Window, size: tuple[int, int]) -> bool:
    """Torch wants pad <= kernel / 2 and always drops a last window that starts in the padding."""
    return all(2 * p <= k and (n - 1) * s < length + p for length, k, s, p, n
               in zip(shape[2:], window.kernel, window.stride, window.pad, size))


def _beyond(shape: tuple[int, ...], window: Window, size: tuple[int, int]) -> bool:
    """Whether a last window reaches beyond the padded map: a size that was rounded up."""
    return any((n - 1) * s + k > length + 2 * p for length, k, s, p, n in zip(
        shape[2:], window.kernel, window.stride, window.pad, size))


def _padded(x: Tensor, window: Window, size: tuple[int, int], value: float) -> Tensor:
    """x with `value` around it (or cut), so that exactly `size` whole windows fit."""
    (top, left), amounts = window.pad, []
    for n, s, k, length, p in zip(size, window.stride, window.kernel, x.shape[2:], window.pad):
        amounts.append((n - 1) * s + k - length - p)
    return F.pad(x, (left, amounts[1], top, amounts[0]), value=value)


def pool(method: int, x: Tensor, window: Window, size: tuple[int, int], *, train: bool) -> Tensor:
    """Pool x (N, C, H, W) by a PoolMethod into (N, C, *size)."""
    if method == PoolingParameter.AVE:
        return _average(x, window, size)
    if method == PoolingParameter.STOCHASTIC:
        return _stochastic(x, window, size, train)
    if x.dtype == torch.uint8:
        if _torch_agrees(x.shape, window, size):
            return largest(x, window.kernel, window.lattice, _beyond(x.shape, window, size))
        return largest(_padded(x, window, size, 0), window.kernel,
                       (window.stride, (0, 0), (1, 1)), False)
    if not torch.compiler.is_exporting() and _torch_agrees(x.shape, window, size):
        return _of_torch(method, x.shape, window, size)(x)
    lowest = torch.finfo(x.dtype).min       # in graphs others round up by rules of their own
    return F.max_pool2d(_padded(x, window, size, lowest), window.kernel, window.stride)


def _of_torch(method: int, shape: tuple[int, ...], window: Window,
              size: tuple[int, int]) -> Callable[[Tensor], Tensor]:
    """torch's operator for bottoms of one shape, where the two agree: MAX, AVE"""
    kernel, stride, pad, beyond = *astuple(window)[:3], _beyond(shape, window, size)
    if method == PoolingParameter.AVE:
        return lambda x: F.avg_pool2d(x, kernel, stride, pad, beyond)
    return lambda x: torch.max_pool2d(x, kernel, stride, pad, 1, beyond)


def _maximum_with_places(x: Tensor, window: Window,
                         size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    padded = _padded(x, window, size, torch.finfo(x.dtype).min)
    y, place = F.max_pool2d(padded, window.kernel, window.stride, return_indices=True)
    row = place.div(padded.shape[3], rounding_mode="floor") - window.pad[0]
    column = place % padded.shape[3] - window.pad[1]
    inside = (row >= 0) & (row < x.shape[2]) & (column >= 0) & (column < x.shape[3])
    return y, torch.where(inside, row * x.shape[3] + column, -1).to(x.dtype)


def _stochastic(x: Tensor, window: Window, size: tuple[int, int], train: bool) -> Tensor:
    values = _padded(x, window, size, 0.0)
    for axis, kernel, stride in zip((2, 3), window.kernel, window.stride):
        values = values.unfold(axis, kernel, stride)
    values = values.flatten(4)                                  # (N, C, H', W', K)
    total = values.sum(4)
    if not train:
        return torch.where(total > 0, values.square().sum(4) / torch.where(total > 0, total, 1), 0)
    share = 1 - torch.rand(total.shape, dtype=x.dtype, device=x.device,
                           generator=generator(x.device))       # of (0, 1]
    reached = values.detach().cumsum(4) >= (share * total.detach())[..., None]
    return values.gather(4, reached.to(torch.int8).argmax(4, keepdim=True))[..., 0]


def _average(x: Tensor, window: Window, size: tuple[int, int]) -> Tensor:
    if not torch.compiler.is_exporting() and _torch_agrees(x.shape, window, size):
        return _of_torch(PoolingParameter.AVE, x.shape, window, size)(x)
    padded = _padded(x, window, size, 0.0)
    if torch.compiler.is_exporting():           # ONNX divides by the whole window
        total = F.avg_pool2d(padded, window.kernel, window.stride) * math.prod(window.kernel)
    else:
        total = F.avg_pool2d(padded, window.kernel, window.stride, divisor_override=1)
    rows, columns = (_covered(*axis, x) for axis in zip(size, window.stride, window.kernel,
                                                        x.shape[2:], window.pad))
    return total / (rows[:, None] * columns)


def _covered(count: int, stride: int, kernel: int, size: int, pad: int, like: Tensor) -> Tensor:
    """How much of each window lies before the end of the padding: (count,)"""
    start = torch.arange(count, dtype=like.dtype, device=like.device) * stride - pad
    return (start + kernel).clamp(max=size + pad) - start
