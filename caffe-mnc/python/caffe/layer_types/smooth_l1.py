"""Smooth L1 losses: that of Fast R-CNN and MNC, and that of R-FCN, under one name."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, Layer, LossLayer, between, exactly
from caffe.layer_types.axes import expect_same
from caffe.layer_types.gradients import with_gradient_of
from caffe.layer_types.loss import normalization_of, normalizer
from caffe.ops import Mode


@LAYERS.register("SmoothL1Loss")
def smooth_l1_loss(param: Any, *args: Any) -> Layer:
    """sum of w_out * e(w_in * (x - t)) / N (Fast R-CNN, MNC; SSD with two bottoms; R-FCN another)

    An object of SmoothL1Loss, or of SmoothL1LossOHEM for what R-FCN has under this name: three
    bottoms, a second top, or a normalization.
    """
    options = param.loss_param
    normalized = options.HasField("normalization") or options.HasField("normalize")
    r_fcn = len(param.bottom) == 3 or len(param.top) == 2 or normalized
    return (SmoothL1LossOHEM if r_fcn else SmoothL1Loss)(param, *args)


class SmoothL1Loss(LossLayer):
    """sum of w_out * e(w_in * (x - t)) / N

    e(d) = (sigma d)^2 / 2 if |d| < 1 / sigma^2, else |d| - 1 / (2 sigma^2)
    bottom: x, t, [w_in, w_out], all of one shape; N = shape[0]. Weights get no gradient.
    """

    num_bottom = between(2, 4)
    num_top = exactly(1)
    no_gradient = ()

    def setup(self, bottom, top):
        self.sigma2 = self.param.smooth_l1_loss_param.sigma ** 2

    def check(self, *shapes):
        expect_same(self, *shapes)

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [()]

    def compute(self, x: Tensor, target: Tensor, inside: Tensor | None = None,
                outside: Tensor | None = None) -> Tensor:
        difference = x - target
        if inside is not None:
            difference = difference * inside.detach()
        size = difference.abs()
        error = torch.where(size < 1 / self.sigma2, 0.5 * self.sigma2 * difference ** 2,
                            size - 0.5 / self.sigma2)
        if outside is not None:
            error = error * outside.detach()
        return error.sum() / max(1, x.shape[0])


@LAYERS.register("SmoothL1LossOHEM")
class SmoothL1LossOHEM(LossLayer):
    """sum of e(w (a - b)) / normalizer, e(d) = d^2 / 2 if |d| < 1, else |d| - 1 / 2 (R-FCN)

    bottom: a, b, [w], (N, C, ...); top 1 on request: (N, 1, ...), the sum over the channels of each
    position. The normalizer counts positions: FULL and VALID (default) N * inner, BATCH_SIZE N.
    loss_param.mode REFERENCE: the gradient of w (a - b) is not multiplied by w again.
    """

    num_bottom = between(2, 3)
    num_top = between(1, 2)
    no_gradient = (2,)

    def setup(self, bottom, top):
        options = self.param.loss_param
        self.mode, self.tops = normalization_of(options, options.VALID), len(top)
        self.exact = Mode(options.mode) is Mode.EXACT

    def check(self, *shapes):
        expect_same(self, *shapes)
        if len(shapes[0]) < 2:
            raise LayerError(f"{self.title}: bottoms must be (N, C, ...), got {shapes[0]}")

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [(), (shapes[0][0], 1, *shapes[0][2:])][:self.tops]

    def compute(self, a: Tensor, b: Tensor, *weight: Tensor) -> tuple[Tensor, ...]:
        difference = a - b
        if weight:
            weighted = difference * weight[0].detach()
            difference = weighted if self.exact else with_gradient_of(weighted, difference)
        size = difference.abs()
        error = torch.where(size < 1, 0.5 * difference.square(), size - 0.5)
        each = error.sum(1, keepdim=True)
        positions = torch.ones_like(each, dtype=torch.bool)
        total = each.sum() / normalizer(self.mode, positions, len(a),
                                        self.param.loss_param.pre_fixed_normalizer)
        return (total, each.detach())[:self.tops]
