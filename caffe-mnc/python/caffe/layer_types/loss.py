"""Losses: a prediction and a target in, a scalar out."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, LossLayer, between, exactly
from caffe.layer_types.axes import canonical, expect_same
from caffe.proto.caffe_pb2 import LossParameter


def normalizer(mode: int, valid: Tensor, outer: int) -> Tensor | int:
    """What LossParameter.normalization divides by, at least 1; valid: mask of what counts."""
    if mode == LossParameter.VALID:
        return valid.sum().clamp(min=1)
    fixed = {LossParameter.FULL: valid.numel(), LossParameter.BATCH_SIZE: outer,
             LossParameter.NONE: 1}
    return max(1, fixed[mode])


def normalization_of(options: Any, default: int) -> int:
    """The mode a LossParameter asks for; `normalize`, the old form, counts if it is alone."""
    if options.HasField("normalization"):
        return options.normalization
    if options.HasField("normalize"):
        return options.VALID if options.normalize else options.BATCH_SIZE
    return default


@LAYERS.register("SoftmaxWithLoss")
class SoftmaxWithLoss(LossLayer):
    """-sum of log softmax(x)[label] / normalizer; top 1 on request: softmax(x)

    bottom: x (outer..., K, inner...), K on softmax_param.axis; label: one whole number for each of
    outer x inner, in any shape. Labels equal to ignore_label count nothing. The logarithm stops at
    the smallest normal float, the gradient softmax(x) - 1{label} does not.
    """

    num_top = between(1, 2)

    def setup(self, bottom, top):
        options = self.param.loss_param
        self.ignore = options.ignore_label if options.HasField("ignore_label") else None
        self.mode = normalization_of(options, options.VALID)
        self.axis = canonical(self, self.param.softmax_param.axis, len(bottom[0].shape),
                              option="softmax_param.axis")
        self.with_probabilities = len(top) == 2

    def check(self, *shapes):
        x, label = shapes
        wanted = math.prod(x[:self.axis]) * math.prod(x[self.axis + 1:])
        if math.prod(label) != wanted:
            raise LayerError(f"{self.title}: scores of shape {x} with classes on axis {self.axis} "
                             f"need {wanted} labels, got {math.prod(label)} (shape {label})")

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [(), shapes[0]][:1 + self.with_probabilities]

    def compute(self, x: Tensor, label: Tensor) -> Tensor | tuple[Tensor, ...]:
        outer = math.prod(x.shape[:self.axis])
        inner = math.prod(x.shape[self.axis + 1:])
        label = label.reshape(outer, inner).long()
        valid = torch.ones_like(label, dtype=torch.bool) if self.ignore is None \
            else label != self.ignore
        scores = F.log_softmax(x, self.axis)
        flat = scores.reshape(outer, x.shape[self.axis], inner)
        loss = -flat.gather(1, torch.where(valid, label, 0)[:, None])[:, 0]     # (outer, inner)
        floored = loss.clamp(max=-math.log(torch.finfo(torch.float32).tiny))
        loss = loss + (floored - loss).detach()
        total = torch.where(valid, loss, 0).sum() / normalizer(self.mode, valid, outer)
        return (total, scores.detach().exp()) if self.with_probabilities else total


@LAYERS.register("SigmoidCrossEntropyLoss")
class SigmoidCrossEntropyLoss(LossLayer):
    """-sum of w * (t * log(p) + (1 - t) * log(1 - p)) / normalizer, p = sigmoid(x)

    bottom: x, t, [w], all of one size. Without w: normalised by `normalization` (default
    BATCH_SIZE); targets equal to ignore_label count nothing. With w: by the sum of w (0 if that
    is not positive). w gets no gradient.
    """

    num_bottom = between(2, 3)
    num_top = exactly(1)

    def setup(self, bottom, top):
        options = self.param.loss_param
        self.ignore = options.ignore_label if options.HasField("ignore_label") else None
        self.mode = normalization_of(options, options.BATCH_SIZE)
        given = [f for f in ("ignore_label", "normalization", "normalize") if options.HasField(f)]
        if len(bottom) == 3 and given:
            raise LayerError(f"{self.title}: loss_param {given[0]} cannot be used together with a "
                             f"third bottom; the weights say what counts")

    def check(self, *shapes):
        if len({math.prod(s) for s in shapes}) > 1:
            raise LayerError(f"{self.title}: bottoms must have the same number of values, got "
                             f"shapes {', '.join(map(str, shapes))}")

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [()]

    def compute(self, x: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        target = target.detach().reshape(x.shape)
        loss = F.binary_cross_entropy_with_logits(x, target, reduction="none")
        if weight is not None:
            weight = weight.detach().reshape(x.shape)
            total = weight.sum()
            mean = (weight * loss).sum() / torch.where(total > 0, total, 1)
            return torch.where(total > 0, mean, 0)
        valid = torch.ones_like(target, dtype=torch.bool) if self.ignore is None \
            else target.trunc() != self.ignore
        outer = x.shape[0] if x.dim() else 1
        return torch.where(valid, loss, 0).sum() / normalizer(self.mode, valid, outer)


@LAYERS.register("SmoothL1Loss")
class SmoothL1Loss(LossLayer):
    """sum of w_out * e(w_in * (x - t)) / N

    e(d) = (sigma d)^2 / 2 if |d| < 1 / sigma^2, else |d| - 1 / (2 sigma^2)
    bottom: x, t, [w_in, w_out], all of one shape; N = shape[0]. Weights get no gradient.
    """

    num_bottom = between(2, 4)
    num_top = exactly(1)
    no_gradient = ()

    def setup(self, bottom, top):
        if len(bottom) == 3:
            raise LayerError(f"{self.title}: inside weights need outside weights; "
                             f"give 2 or 4 bottoms")
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


@LAYERS.register("EuclideanLoss")
class EuclideanLoss(LossLayer):
    """sum of (x - t)^2 / (2 N), N = shape[0]; both bottoms have a gradient"""

    num_top = exactly(1)
    no_gradient = ()

    def check(self, *shapes):
        if shapes[0][:1] != shapes[1][:1] or math.prod(shapes[0]) != math.prod(shapes[1]):
            raise LayerError(f"{self.title}: bottoms must have the same shape, got {shapes[0]} and "
                             f"{shapes[1]}")

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [()]

    def compute(self, x: Tensor, target: Tensor) -> Tensor:
        return (x - target.reshape(x.shape)).square().sum() / (2 * max(1, x.shape[0]))
