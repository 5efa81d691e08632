"""Eltwise and Axpy over several bottoms, Reduction over axes of one."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor

from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, TorchLayer, at_least, exactly
from caffe.layer_types.axes import canonical, expect_same


@LAYERS.register("Eltwise")
class Eltwise(TorchLayer):
    """SUM: sum of coeff_i * x_i.  PROD: product of x_i.  MAX: largest x_i

    MAX gives the gradient of equal values to the second of the first two, else to the earlier.
    """

    num_bottom = at_least(2)
    num_top = exactly(1)
    owns_output = keeps_coordinates = True

    def setup(self, bottom, top):
        options = self.param.eltwise_param
        ways: dict[int, Callable[..., Tensor]] = {
            options.PROD: _product, options.SUM: self._sum, options.MAX: _maximum}
        self.combine = ways[options.operation]
        self.coefficients = list(options.coeff)
        if self.coefficients and options.operation != options.SUM:
            raise LayerError(f"{self.title}: coeff is for operation SUM only")
        if self.coefficients and len(self.coefficients) != len(bottom):
            raise LayerError(f"{self.title}: {len(bottom)} bottoms need as many coeff, got "
                             f"{len(self.coefficients)}")

    def check(self, *shapes):
        expect_same(self, *shapes)

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [shapes[0]]

    def compute(self, *bottoms: Tensor) -> Tensor:
        return self.combine(*bottoms)

    def _sum(self, *bottoms: Tensor) -> Tensor:
        if self.coefficients:
            bottoms = tuple(c * x for c, x in zip(self.coefficients, bottoms))
        return reduce(torch.add, bottoms)


def _product(*bottoms: Tensor) -> Tensor:
    return reduce(torch.mul, bottoms)


def _maximum(first: Tensor, second: Tensor, *others: Tensor) -> Tensor:
    largest = torch.where(first > second, first, second)
    for x in others:
        largest = torch.where(x > largest, x, largest)
    return largest


@LAYERS.register("Axpy")
class Axpy(TorchLayer):
    """top = scale * x + y, one scale a channel of an image (SENet)

    bottom: scale (N, C) or (N, C, 1, 1), x and y (N, C, H, W)
    """

    num_bottom = exactly(3)
    num_top = exactly(1)
    owns_output = True

    def check(self, *shapes):
        scale, x, y = shapes
        if len(x) < 2 or x != y or scale not in (x[:2], x[:2] + (1,) * (len(x) - 2)):
            raise LayerError(f"{self.title}: bottoms must be scale (N, C), x (N, C, H, W) and y "
                             f"like x, got {', '.join(map(str, shapes))}")

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [shapes[1]]

    def compute(self, scale: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return scale.reshape(*x.shape[:2], *[1] * (x.dim() - 2)) * x + y


@LAYERS.register("Reduction")
class Reduction(TorchLayer):
    """coeff * (sum of x | sum of |x| | sum of x^2 | mean of x) over all axes from `axis` on

    top: the axes before `axis`
    """

    num_bottom = exactly(1)
    num_top = exactly(1)

    def setup(self, bottom, top):
        options = self.param.reduction_param
        self.axis = canonical(self, options.axis, len(bottom[0].shape))
        self.reduce = {options.SUM: lambda x: x.sum(-1), options.ASUM: lambda x: x.abs().sum(-1),
                       options.SUMSQ: lambda x: x.square().sum(-1),
                       options.MEAN: lambda x: x.mean(-1)}[options.operation]

    def compute(self, x: Tensor) -> Tensor:
        return self.param.reduction_param.coeff * self.reduce(x.flatten(self.axis))
