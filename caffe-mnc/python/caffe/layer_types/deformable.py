"""DeformableConvolution: a convolution whose kernel's places are moved by a second bottom."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, TorchLayer, exactly
from caffe.layer_types.axes import expect_rank
from caffe.layer_types.window import Window


@LAYERS.register("DeformableConvolution")
class DeformableConvolution(TorchLayer):
    """Convolution of samples at moved places: W (num_output, C / group, *kernel), b (Deformable)

    bottom: x (N, C, H, W), offsets (N, 2 K deformable_group, H', W'): rows, then columns of each of
    the K places of the kernel, in pixels; each part of the channels has its own. Samples are linear
    between four pixels, the last row and column going on for a pixel; 0 outside the map.
    """

    num_bottom = exactly(2)
    num_top = exactly(1)

    def setup(self, bottom, top):
        options, channels = self.param.deformable_convolution_param, bottom[0].shape[1]
        self.window = Window.from_param(self, options, 2)
        self.outputs, self.group = options.num_output, options.group
        self.parts = options.deformable_group
        for what, count, parts in (("num_output", self.outputs, self.group),
                                   ("channels", channels, self.group),
                                   ("channels", channels, self.parts)):
            if not count or not parts or count % parts:
                raise LayerError(f"{self.title}: {what} ({count}) must be a multiple of group "
                                 f"{self.group} and deformable_group {self.parts}")
        self.add_blob((self.outputs, channels // self.group, *self.window.kernel),
                      options.weight_filler)
        if options.bias_term:
            self.add_blob((self.outputs,), options.bias_filler)

    def size(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        w = self.window
        return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, p, d, k, s in zip(
            shape[2:], w.pad, w.dilation, w.kernel, w.stride))

    def check(self, *shapes):
        expect_rank(self, shapes[0], 4, "bottom 0")
        wanted = (shapes[0][0], 2 * math.prod(self.window.kernel) * self.parts,
                  *self.size(shapes[0]))
        if shapes[0][1] != self.blobs[0].shape[1] * self.group or shapes[1] != wanted:
            raise LayerError(f"{self.title}: a bottom of {self.blobs[0].shape[1] * self.group} "
                             f"channels needs offsets of shape {wanted}, got "
                             f"{' and '.join(map(str, shapes))}")

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [(shapes[0][0], self.outputs, *self.size(shapes[0]))]

    def multiply_adds(self, bottoms, tops):
        return math.prod(tops[0]) * (self.blobs[0].count // self.outputs)

    def compute(self, x: Tensor, offsets: Tensor, weight: Tensor, *bias: Tensor) -> Tensor:
        images, channels = x.shape[:2]
        size, count = self.size(tuple(x.shape)), math.prod(self.window.kernel)
        moved = offsets.reshape(images, self.parts, count, 2, *size)
        at = [moved[:, :, :, i] + place for i, place in enumerate(self._places(x, size))]
        samples = linear_samples(x.reshape(images, self.parts, channels // self.parts,
                                           *x.shape[2:]), *at)      # (N, C, K, H', W')
        columns = samples.reshape(images, self.group, channels // self.group * count, -1) \
            if x.numel() else x.new_zeros(0, self.group, channels // self.group * count,
                                          math.prod(size))
        flat = weight.reshape(self.group, self.outputs // self.group, -1)
        y = (flat @ columns).reshape(images, self.outputs, *size)
        return y + bias[0].reshape(1, -1, 1, 1) if bias else y

    def _places(self, x: Tensor, size: tuple[int, ...]) -> list[Tensor]:
        """Rows and columns that each place of the kernel reads without offsets, (K, H', W')"""
        w, found = self.window, []
        for axis, (k, s, p, d, n) in enumerate(zip(w.kernel, w.stride, w.pad, w.dilation, size)):
            taps, steps = (torch.arange(m, dtype=x.dtype, device=x.device) for m in (k, n))
            grid = taps[:, None] * d + steps * s - p                        # (k, n)
            shape = (k, 1, n, 1) if axis == 0 else (1, k, 1, n)
            found.append(grid.reshape(shape).expand(*w.kernel, *size).reshape(-1, *size))
        return found


def linear_samples(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """x (N, P, C, H, W) at rows and columns (N, P, K, H', W') -> (N, P C, K, H', W')

    The last row and column go on for a pixel; 0 outside the map. Differentiable in all three; at
    whole numbers the derivative in rows and columns is that towards the next pixel.
    """
    height, width = x.shape[3:]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    rows, columns = (torch.where(inside, at, 0) for at in (rows, columns))     # NaN is outside
    top, left = rows.detach().floor(), columns.detach().floor()
    down, right = rows - top, columns - left
    total = torch.zeros((), dtype=x.dtype, device=x.device)
    for i, in_row in enumerate((1 - down, down)):
        for j, in_column in enumerate((1 - right, right)):
            row, column = (top + i).clamp(max=height - 1), (left + j).clamp(max=width - 1)
            place = (row * width + column).long().flatten(2)[:, :, None]
            values = x.flatten(3).gather(3, place.expand(-1, -1, x.shape[2], -1))
            share = (in_row * in_column)[:, :, None]
            total = total + values.reshape(*x.shape[:3], *rows.shape[2:]) * share
    return (total * inside[:, :, None]).flatten(1, 2)
