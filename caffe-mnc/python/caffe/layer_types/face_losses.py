"""Losses of faces: TripletLoss, CenterLoss, FocalLoss; LabelSpecificAdd before one."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, TRAIN, LossLayer, TorchLayer, exactly
from caffe.layer_types.axes import canonical, expect_labelled_vectors, expect_same
from caffe.layer_types.gradients import with_gradient_of
from caffe.layer_types.loss import normalization_of, normalizer
from caffe.ops import Mode


@LAYERS.register("TripletLoss")
class TripletLoss(LossLayer):
    """sum of max(0, margin + |a - p|^2 - |a - n|^2) / (2 N) (NormFace)

    bottom: anchors a, positives p, negatives n, all (N, ...)
    """

    num_bottom = exactly(3)
    num_top = exactly(1)
    no_gradient = ()

    def check(self, *shapes):
        expect_same(self, *shapes)

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [()]

    def compute(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        near, far = ((anchor - x).flatten(1).square().sum(1) for x in (positive, negative))
        margin = self.param.triplet_loss_param.margin
        return F.relu(margin + near - far).sum() / (2 * max(1, len(anchor)))


@LAYERS.register("CenterLoss")
class CenterLoss(TorchLayer):
    """sum of |x - centre of its label|^2 / (2 N); no loss without a loss_weight (caffe-face)

    bottom: x (N, ...), from `axis` on a vector of K; labels (N,). Parameter: centres
    (num_output, K). mode REFERENCE: centre j gets the gradient
    sum over its items of (centre - x) / (1 + their number), whatever the loss weight.
    """

    num_bottom = exactly(2)
    num_top = exactly(1)
    no_gradient = (1,)

    def setup(self, bottom, top):
        options = self.param.center_loss_param
        self.axis = canonical(self, options.axis, len(bottom[0].shape))
        if options.num_output < 1:
            raise LayerError(f"{self.title}: center_loss_param.num_output is missing or 0")
        self.exact = Mode(options.mode) is Mode.EXACT
        self.add_blob((options.num_output, math.prod(bottom[0].shape[self.axis:])),
                      options.center_filler)

    def check(self, *shapes):
        expect_labelled_vectors(self, *shapes)

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [()]

    def compute(self, x: Tensor, label: Tensor, centers: Tensor) -> Tensor:
        rows = x.reshape(-1, centers.shape[1])
        return (rows - F.embedding(label.flatten().long(), centers)).square().sum() \
            / (2 * max(1, len(rows)))

    def add_gradients(self, inputs: list[Tensor], gradients: list[Tensor]) -> tuple[int, ...]:
        if self.exact or not self.blob_needs_gradient[0]:
            return ()
        centers = self.blobs[0].tensor
        rows = inputs[0].detach().reshape(-1, centers.shape[1])
        label = inputs[1].detach().flatten().long()
        away = torch.zeros_like(centers).index_add_(0, label, centers[label] - rows)
        count = torch.bincount(label, minlength=len(centers))[:, None]
        self.blobs[0].add_diff(away / (1 + count))
        return (0,)


@LAYERS.register("FocalLoss")
class FocalLoss(LossLayer):
    """sum of (alpha - p)^gamma * -log p / normalizer, p = softmax(x)[label] (happynear)

    bottom: x (outer..., K, inner...), K on softmax_param.axis; label, one for each of outer x
    inner. type ONEADDP: (1 + p)^gamma. mode REFERENCE: the gradient is the derivative only for
    alpha 1; else it takes gamma (alpha - p)^gamma / (1 - p) for the derivative of the power.
    """

    num_top = exactly(1)

    def setup(self, bottom, top):
        options = self.param.loss_param
        self.ignore = options.ignore_label if options.HasField("ignore_label") else None
        self.mode = normalization_of(options, options.VALID)
        self.axis = canonical(self, self.param.softmax_param.axis, len(bottom[0].shape),
                              option="softmax_param.axis")

    def check(self, *shapes):
        x, label = shapes
        if math.prod(label) * x[self.axis] != math.prod(x):
            raise LayerError(f"{self.title}: scores of shape {x} with classes on axis {self.axis} "
                             f"do not fit labels of shape {label}")

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [()]

    def compute(self, x: Tensor, label: Tensor) -> Tensor:
        outer, classes = math.prod(x.shape[:self.axis]), x.shape[self.axis]
        label = label.reshape(outer, 1, -1).long() if x.numel() else label.long()[..., None]
        valid = torch.ones_like(label, dtype=torch.bool) if self.ignore is None \
            else label != self.ignore
        logs = F.log_softmax(x, self.axis).reshape(outer, classes, label.shape[2])
        logs = logs.gather(1, torch.where(valid, label, 0))
        loss = torch.where(valid, self._of(logs), 0)
        return loss.sum() / normalizer(self.mode, valid, outer)

    def _of(self, logs: Tensor) -> Tensor:
        """The loss from log p."""
        options, p = self.param.focal_loss_param, logs.exp()
        if options.type == options.ONEADDP:
            return -(1 + p) ** options.gamma * logs
        power = (options.alpha - p) ** options.gamma
        if Mode(options.mode) is Mode.EXACT:
            return -power * logs
        tiny = torch.finfo(p.dtype).tiny
        slope = power - options.gamma * power / (1 - p).clamp(min=tiny) * p * logs
        return with_gradient_of(-power * logs, -slope.detach() * logs)


@LAYERS.register("LabelSpecificAdd")
class LabelSpecificAdd(TorchLayer):
    """TRAIN: bias added to the score of the label, where that is above -bias.  TEST: x (AM-Softmax)

    bottom: scores (N, K), labels (N,); the gradient passes unchanged.
    """

    num_bottom = exactly(2)
    num_top = exactly(1)
    no_gradient = (1,)

    def check(self, *shapes):
        if len(shapes[0]) != 2 or math.prod(shapes[1]) != shapes[0][0]:
            raise LayerError(f"{self.title}: bottoms must be scores (N, K) and labels (N,), got "
                             f"{shapes[0]} and {shapes[1]}")

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [shapes[0]]

    def compute(self, x: Tensor, label: Tensor) -> Tensor:
        if self.phase != TRAIN:
            return x.clone()
        bias, own = self.param.label_specific_add_param.bias, label.reshape(-1, 1).long()
        added = torch.where(x.detach().gather(1, own) > -bias, bias, 0.0).to(x.dtype)
        return x + torch.zeros_like(x).scatter(1, own, added)
