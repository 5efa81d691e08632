"""Products of 8-bit numbers: a bottom in uint8, weights in int8, sums in 32 bits; on the CPU.

A value x stands as q = round(x / scale) + zero, cut to 0 .. 255 (`Levels`); a weight as a whole
number of -127 .. 127 times the scale of its output channel. The operators are those that torch's
own compiler calls. A packed weight is a tensor in torch's oneDNN layout (`is_mkldnn`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

OPERATORS = ("qconv_prepack", "qconv2d_pointwise", "qlinear_prepack", "qlinear_pointwise")
PIECE = 2 ** 17             # values that are rounded at a time: their sums stay in the caches
ROWS = 256                  # of a weight that are rounded at a time: fc6 of VGG-16 has 0.4 GB
LAST = torch.channels_last
Lattice = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]   # stride, pad, dilation


@cache
def int8_computable() -> bool:
    """Whether this torch has exact products of 8-bit numbers for this processor.

    Without VNNI oneDNN adds two of them in 16 bits, where they are cut.
    """
    if not torch.backends.mkldnn.is_available() or \
            not all(hasattr(torch.ops.onednn, name) for name in OPERATORS):
        return False
    try:                        # they may be there for other processors only
        rounded = round_matrix(torch.ones(16, 64))
        product = Int8(Levels(1.0, 0), None, torch.float32, rounded.scales)
        largest_ones = torch.full((8, 64), 255, dtype=torch.uint8)
        y = product.linear(largest_ones, rounded.weight, None, "none")
        return bool(torch.allclose(y, torch.tensor(255.0 * 64)))
    except RuntimeError:
        return False


def fast_int8() -> bool:
    """Whether the processor multiplies 8-bit numbers by itself, as far as torch tells."""
    return any(getattr(torch.cpu, name, bool)() for name in (
        "_is_vnni_supported", "_is_amx_tile_supported"))


@dataclass(frozen=True)
class Levels:
    """The 256 values that a map has in uint8: scale * (q - zero)."""

    scale: float = 1.0
    zero: int = 0

    @classmethod
    def of(cls, low: float, high: float) -> Levels:
        """Those from `low` to `high`, and 0 exactly: padding and what ReLU cuts off are 0."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = (high - low) / 255 or 1.0
        return cls(scale, round(-low / scale))

    @classmethod
    def around(cls, several: list[Levels]) -> Levels:
        """Those that reach as far as each of several."""
        return several[0] if len(set(several)) == 1 else cls.of(
            min((-each.zero * each.scale for each in several), default=0.0),
            max(((255 - each.zero) * each.scale for each in several), default=0.0))

    def round(self, x: Tensor) -> Tensor:
        """x, of any shape and layout, in uint8; halves are rounded up."""
        last = x.dim() == 4 and x.is_contiguous(memory_format=LAST)
        x = x if last else x.contiguous()
        q = torch.empty_like(x, dtype=torch.uint8)
        values, found = (_flat(each, last) for each in (x, q))
        shift = torch.tensor(self.zero + 0.5)
        scratch = torch.empty(min(PIECE, values.numel()))
        for part, target in zip(values.split(PIECE), found.split(PIECE)):
            piece = scratch[:part.numel()]
            torch.add(shift, part, alpha=1 / self.scale, out=piece)
            target.copy_(piece.clamp_(0, 255))      # a cast to uint8 rounds down
        return q


def _flat(x: Tensor, last: bool) -> Tensor:
    return (x.permute(0, 2, 3, 1) if last else x).view(-1)


@dataclass(frozen=True, eq=False)
class Int8:
    """What a product is told besides its packed weight: levels of bottom and top, scales (N,)."""

    given: Levels
    made: Levels | None         # None: the top is in `dtype`
    dtype: torch.dtype
    scales: Tensor              # (N,) float32, of the weights of each output channel

    @property
    def _top(self) -> tuple[float, int, torch.dtype]:
        return (1.0, 0, self.dtype) if self.made is None else \
            (self.made.scale, self.made.zero, torch.uint8)

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None, activation: str) -> Tensor:
        """activation(x W^T + b) for x (..., K) in uint8 and W (N, K) packed: (..., N)"""
        return torch.ops.onednn.qlinear_pointwise(
            x, self.given.scale, self.given.zero, weight, self.scales, _zeros(self.scales), bias,
            *self._top, activation, [], "")

    def convolve(self, x: Tensor, params: tuple[Tensor, Tensor | None], lattice: Lattice,
                 group: int, activation: str) -> Tensor:
        """activation(W * x + b) for x (N, C, H, W) in uint8 and packed filters; channels-last."""
        return torch.ops.onednn.qconv2d_pointwise(
            x, self.given.scale, self.given.zero, params[0], self.scales, _zeros(self.scales),
            params[1], *lattice, group, *self._top, activation, [], "")


def _zeros(scales: Tensor) -> Tensor:
    return torch.zeros(len(scales), dtype=torch.int64)


@dataclass(frozen=True, eq=False)
class Rounded:
    """A weight in 8 bits: packed, with a scale of each output channel (N,)."""

    weight: Tensor
    scales: Tensor
    plain: Callable[[], Tensor]         # in float32, of the shape that it had


def round_matrix(weight: Tensor) -> Rounded:
    """Of W (N, K)."""
    whole, scales = _rows(weight)
    packed = torch.ops.onednn.qlinear_prepack(whole, None)      # it reads as (K, N)
    return Rounded(packed, scales, lambda: _plain_matrix(packed, scales))


def round_filter(weight: Tensor, lattice: Lattice, group: int) -> Rounded:
    """Of W (N, C / group, kernel_h, kernel_w)."""
    whole, scales = _rows(weight)
    packed = torch.ops.onednn.qconv_prepack(        # for bottoms of any levels and sizes
        whole, scales, 1.0, 0, *lattice, group, None)
    return Rounded(packed, scales,
                   lambda: packed.to_dense().float() * scales.view(-1, 1, 1, 1))


def _rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(W (N, ...) in int8, scales (N,)): the largest of each output channel is 127 or -127."""
    low, high = torch.aminmax(weight.flatten(1), dim=1)
    scales = torch.maximum(-low, high) / 127
    scales = torch.where(scales > 0, scales, 1.0)
    whole = torch.empty_like(weight, dtype=torch.int8, memory_format=torch.contiguous_format)
    for part, scale, target in zip(weight.split(ROWS), scales.split(ROWS), whole.split(ROWS)):
        target.copy_((part / scale.reshape(-1, *[1] * (weight.dim() - 1))).round_())
    return whole, scales


def _plain_matrix(packed: Tensor, scales: Tensor) -> Tensor:
    whole = packed.to_dense()                                   # (K, N)
    plain = torch.empty(whole.shape[::-1])
    for i, target in enumerate(plain.split(ROWS)):
        part = slice(i * ROWS, i * ROWS + len(target))
        torch.mul(whole[:, part].T, scales[part, None], out=target)
    return plain


def largest(x: Tensor, kernel: tuple[int, ...], lattice: Lattice, round_up: bool) -> Tensor:
    """The largest of each window of x (N, C, H, W) in uint8, which torch's own pooling refuses."""
    return torch.ops.quantized.max_pool2d(x, kernel, *lattice, round_up)
