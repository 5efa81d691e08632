"""Losses: a prediction and a target in, a scalar out."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from caffe.data.blob_file import read_blob
from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, LossLayer, between, exactly
from caffe.layer_types.axes import canonical, expect_same
from caffe.layer_types.batches import naming
from caffe.proto.caffe_pb2 import LossParameter

LEAST_LOGARITHM = math.log(torch.finfo(torch.float32).tiny)
FEW, NEVER = 1 << 16, -1 << 62      # scores that cost less than more operators do; no label
LEAST_PROBABILITY = 1e-20       # of which a logarithm is taken


def normalizer(mode: int, valid: Tensor, outer: int, fixed: float = 1) -> Tensor | float:
    """What LossParameter.normalization divides by, at least 1; valid: mask of what counts.

    fixed: what PRE_FIXED, of R-FCN, takes.
    """
    if mode == LossParameter.VALID:
        return valid.sum().clamp(min=1)
    divisors = {LossParameter.FULL: valid.numel(), LossParameter.BATCH_SIZE: outer,
                LossParameter.NONE: 1, LossParameter.PRE_FIXED: fixed}
    return max(1, divisors[mode])


def normalization_of(options: Any, default: int) -> int:
    """The mode a LossParameter asks for; `normalize`, the old form, counts if it is alone."""
    if options.HasField("normalization"):
        return options.normalization
    if options.HasField("normalize"):
        return options.VALID if options.normalize else options.BATCH_SIZE
    return default


def floored(x: Tensor, least: float) -> Tensor:
    """max(x, least), with the gradient of x"""
    return x + (x.clamp(min=least) - x).detach()


@LAYERS.register("SoftmaxWithLoss")
class SoftmaxWithLoss(LossLayer):
    """-sum of log softmax(x)[label] / normalizer; top 1 on request: softmax(x)

    bottom: x (outer..., K, inner...), K on softmax_param.axis; label: one whole number for each of
    outer x inner, in any shape. Labels equal to ignore_label count nothing. The logarithm stops at
    the smallest normal float, the gradient softmax(x) - 1{label} does not. Top 2 on request
    (R-FCN): the loss of each label. weight_by_label_freqs (SegNet): each label's loss times the
    class_weighting of its class.
    """

    num_top = between(1, 3)

    def setup(self, bottom, top):
        options = self.param.loss_param
        self.ignore = options.ignore_label if options.HasField("ignore_label") else None
        self.mode = normalization_of(options, options.VALID)
        self.axis = canonical(self, self.param.softmax_param.axis, len(bottom[0].shape),
                              option="softmax_param.axis")
        self.tops, weights = len(top), list(options.class_weighting)
        self.weights = torch.tensor(weights, dtype=self.dtype, device=self.device) \
            if options.weight_by_label_freqs else None
        if self.weights is not None and len(weights) != bottom[0].shape[self.axis]:
            raise LayerError(f"{self.title}: weight_by_label_freqs needs one class_weighting for "
                             f"each of {bottom[0].shape[self.axis]} classes, got {len(weights)}")

    def check(self, *shapes):
        x, label = shapes
        wanted = math.prod(x[:self.axis]) * math.prod(x[self.axis + 1:])
        if math.prod(label) != wanted:
            raise LayerError(f"{self.title}: scores of shape {x} with classes on axis {self.axis} "
                             f"need {wanted} labels, got {math.prod(label)} (shape {label})")

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [(), *shapes][:self.tops]

    def compute(self, x: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        if self.tops == 1 and self.ignore is self.weights is None and 0 < x.numel() <= FEW \
                and x.dim() == 2 and self.axis == 1 and x.device.type == "cpu" \
                and not torch.compiler.is_exporting():
            scores = F.log_softmax(x, 1)
            if float(scores.detach().min()) >= LEAST_LOGARITHM:
                total = F.nll_loss(scores, target.reshape(-1).long(), ignore_index=NEVER,
                                   reduction="sum")
                divisor = self._divisor(len(x))
                return (total / divisor if divisor != 1 else total,)
        return self._of_any(x, target)

    def _divisor(self, count: int) -> float:
        """What the sum over so many labels, all of which count, is divided by."""
        mode = LossParameter.FULL if self.mode == LossParameter.VALID else self.mode
        return float(normalizer(mode, torch.empty(count, device="meta"), count,
                                self.param.loss_param.pre_fixed_normalizer))

    def _of_any(self, x: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        outer = math.prod(x.shape[:self.axis])
        inner = math.prod(x.shape[self.axis + 1:])
        label = target.reshape(outer, inner).long()
        valid = torch.ones_like(label, dtype=torch.bool) if self.ignore is None \
            else label != self.ignore
        scores = F.log_softmax(x, self.axis)
        flat = scores.reshape(outer, x.shape[self.axis], inner)
        found = flat.gather(1, torch.where(valid, label, 0)[:, None])[:, 0]     # (outer, inner)
        loss = -floored(found, LEAST_LOGARITHM)
        if self.weights is not None:
            loss = loss * self.weights[torch.where(valid, label, 0)]
        loss = torch.where(valid, loss, 0)
        total = loss.sum() / normalizer(self.mode, valid, outer,
                                        self.param.loss_param.pre_fixed_normalizer)
        each = loss.detach().reshape(target.shape)
        return (total, scores.detach().exp(), each)[:self.tops]


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


class LabelLoss(LossLayer):
    """A loss of scores (N, K in any number of axes) and one label an item."""

    num_top = exactly(1)

    def check(self, *shapes):
        x, label = shapes
        if not x or math.prod(label) != x[0]:
            raise LayerError(f"{self.title}: scores of shape {x} need one label an item, got shape "
                             f"{label}")

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [()]

    def rows(self, x: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (N, K), labels (N, 1)"""
        return x.reshape(len(x), math.prod(x.shape[1:])), label.reshape(-1, 1).long()


@LAYERS.register("HingeLoss")
class HingeLoss(LabelLoss):
    """sum of max(0, 1 - d x)^p / N, d = 1 for an item's own class, else -1; p = 1 (L1) or 2 (L2)"""

    def compute(self, x: Tensor, label: Tensor) -> Tensor:
        x, label = self.rows(x, label)
        sign = torch.ones_like(x).scatter(1, label, -1)
        margin = F.relu(1 + sign * x)
        options = self.param.hinge_loss_param
        total = margin.sum() if options.norm == options.L1 else margin.square().sum()
        return total / max(1, len(x))


@LAYERS.register("MultinomialLogisticLoss")
class MultinomialLogisticLoss(LabelLoss):
    """-sum of log max(p[label], 1e-20) / N, p probabilities; the gradient is -1 / max(p, 1e-20)"""

    reads_bottoms_again = True

    def compute(self, p: Tensor, label: Tensor) -> Tensor:
        p, label = self.rows(p, label)
        return -floored(p.gather(1, label), LEAST_PROBABILITY).log().sum() / max(1, len(p))


@LAYERS.register("InfogainLoss")
class InfogainLoss(LossLayer):
    """-sum over items and classes j of H[label, j] log softmax(x)[j] / normalizer

    bottom: x (outer..., K, inner...), K on `axis`; label, one for each of outer x inner; [H], K x K
    values, else infogain_loss_param.source is a BlobProto of them. top 1 on request: softmax(x).
    Labels equal to ignore_label count nothing; the logarithm stops at 1e-20, the gradient does not.
    """

    num_bottom = between(2, 3)
    num_top = between(1, 2)
    no_gradient = (1, 2)

    def setup(self, bottom, top):
        options, loss = self.param.infogain_loss_param, self.param.loss_param
        if loss.HasField("normalize"):
            raise LayerError(f"{self.title}: takes no loss_param.normalize; write normalization: "
                             f"{'VALID' if loss.normalize else 'BATCH_SIZE'}")
        self.ignore = loss.ignore_label if loss.HasField("ignore_label") else None
        self.mode = loss.normalization
        self.axis = canonical(self, options.axis, len(bottom[0].shape))
        self.with_probabilities = len(top) == 2
        self.matrix = torch.empty(0)        # where the third bottom is it
        if len(bottom) == 2:
            if not options.source:
                raise LayerError(f"{self.title}: needs the matrix H, as a third bottom or as a "
                                 f"file, infogain_loss_param.source")
            with naming(self):
                self.matrix = torch.as_tensor(read_blob(options.source), dtype=self.dtype,
                                              device=self.device)

    def check(self, *shapes):
        x, label = shapes[:2]
        wanted = math.prod(x[:self.axis]) * math.prod(x[self.axis + 1:])
        if math.prod(label) != wanted:
            raise LayerError(f"{self.title}: scores of shape {x} with classes on axis {self.axis} "
                             f"need {wanted} labels, got {math.prod(label)} (shape {label})")
        matrix = shapes[2] if len(shapes) == 3 else tuple(self.matrix.shape)
        if math.prod(matrix) != x[self.axis] ** 2:
            raise LayerError(f"{self.title}: H must hold {x[self.axis]} x {x[self.axis]} values, "
                             f"it has the shape {matrix}")

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [(), shapes[0]][:1 + self.with_probabilities]

    def compute(self, x: Tensor, label: Tensor,
                matrix: Tensor | None = None) -> Tensor | tuple[Tensor, ...]:
        matrix = self.matrix if matrix is None else matrix.detach()
        classes = x.shape[self.axis]
        outer, inner = math.prod(x.shape[:self.axis]), math.prod(x.shape[self.axis + 1:])
        label = label.reshape(outer, inner).long()
        valid = torch.ones_like(label, dtype=torch.bool) if self.ignore is None \
            else label != self.ignore
        gain = F.embedding(torch.where(valid, label, 0), matrix.reshape(classes, classes))
        scores = F.log_softmax(x, self.axis)
        flat = floored(scores, math.log(LEAST_PROBABILITY)).reshape(outer, classes, inner)
        loss = -(gain * flat.transpose(1, 2)).sum(2)            # (outer, inner)
        total = torch.where(valid, loss, 0).sum() / normalizer(self.mode, valid, outer)
        return (total, scores.detach().exp()) if self.with_probabilities else total


@LAYERS.register("ContrastiveLoss")
class ContrastiveLoss(LossLayer):
    """sum of (d^2 for similar pairs, max(margin - d, 0)^2 for others) / (2 N), d = |a - b|

    bottom: a (N, C), b (N, C), similar (N,): not 0. legacy_version: max(margin - d^2, 0) for
    others. The gradient of others is (margin - d) / (d + 1e-4) times the difference.
    """

    num_bottom = exactly(3)
    num_top = exactly(1)
    no_gradient = (2,)

    def check(self, *shapes):
        expect_same(self, *shapes[:2])
        count = shapes[0][0] if shapes[0] else 0
        if math.prod(shapes[0]) != math.prod(shapes[0][:2]) or math.prod(shapes[2]) != count:
            raise LayerError(f"{self.title}: bottoms must be (N, C), (N, C) and (N,), got "
                             f"{', '.join(map(str, shapes))}")

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [()]

    def compute(self, a: Tensor, b: Tensor, similar: Tensor) -> Tensor:
        options = self.param.contrastive_loss_param
        square = (a - b).flatten(1).square().sum(1)             # (N,)
        if options.legacy_version:
            other = F.relu(options.margin - square)
        else:
            distance = square.detach().sqrt()
            margin = F.relu(options.margin - distance)
            slope = -margin / (distance + 1e-4)
            other = margin.square() + slope * (square - square.detach())
        loss = torch.where(similar.flatten().trunc() != 0, square, other)
        return loss.sum() / (2 * max(1, len(a)))
