"""BN, two layers of one name: that of PSPNet and TSN, and that of SegNet."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, TEST, Layer, TorchLayer, between, exactly
from caffe.layer_types.axes import expect_rank
from caffe.layer_types.statistics_of_all import SumOfAll, normalized_over_all
from caffe.ops import Mode

SEGNET_EPS = 1e-9


@LAYERS.register("BN")
def batch_statistics(param: Any, *args: Any) -> Layer:
    """y = slope_c (x - mean_c) / sqrt(var_c + eps) + bias_c (PSPNet, TSN; SegNet and ENet another)

    An object of ScaleShiftBN for SegNet's scale_filler, shift_filler and bn_mode, else of
    StatisticsBN.
    """
    options = param.bn_param
    fields = {"PSPNet": ("slope_filler", "bias_filler", "momentum", "eps", "frozen", "engine"),
              "SegNet": ("scale_filler", "shift_filler", "bn_mode")}
    given = {fork: [f for f in names if options.HasField(f)] for fork, names in fields.items()}
    if all(given.values()):
        raise LayerError(f'layer "{param.name}" (BN): bn_param.{given["PSPNet"][0]} is of the BN '
                         f"of PSPNet and TSN, {given['SegNet'][0]} of that of SegNet; the two are "
                         f"different layers")
    return (ScaleShiftBN if given["SegNet"] else StatisticsBN)(param, *args)


class ChannelLayer(TorchLayer):
    """Parameters of shape (1, C, 1, 1), one value for each channel of (N, C, H, W)."""

    num_bottom = exactly(1)
    num_top = exactly(1)
    any_ones = True         # files of some forks have them as (1, C)

    def check(self, *shapes):
        expect_rank(self, shapes[0], 4, "the bottom")
        if self.blobs and shapes[0][1] != self.blobs[0].count:
            raise LayerError(f"{self.title}: was built for {self.blobs[0].count} channels, got "
                             f"shape {shapes[0]}")

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [shapes[0]]


class StatisticsBN(ChannelLayer):
    """y = slope_c (x - mean_c) / sqrt(var_c + eps) + bias_c

    Parameters: slope, bias, moving mean, moving variance, each (1, C, 1, 1); the last two are never
    learned, and with `frozen` none is. In TRAIN mean and variance are the batch's, and moving <-
    momentum * moving + (1 - momentum) * batch's; in TEST, or frozen, the moving ones serve.
    mode REFERENCE: the gradient in TEST is taken as if the moving statistics were the batch's. Of
    workers that train together each has its own batch's, unless `synchronise`d.
    """

    reads_bottoms_again = False         # but the normalised values

    of_all: SumOfAll | None = None      # the sum over workers, where statistics are of all

    def synchronise(self, of_all: SumOfAll) -> None:
        """From now on the batch is that of all workers."""
        self.of_all = of_all

    def setup(self, bottom, top):
        self.check(bottom[0].shape)
        options, shape = self.param.bn_param, (1, bottom[0].shape[1], 1, 1)
        self.frozen, self.momentum, self.eps = options.frozen, options.momentum, options.eps
        self.add_blob(shape, options.slope_filler)
        self.add_blob(shape, options.bias_filler)
        self.add_blob(shape)
        self.add_blob(shape)
        if self.frozen:
            self.blobs[3].tensor.fill_(1)
        self.stored = self.frozen or self.phase == TEST
        self.exact = Mode(options.mode) is Mode.EXACT
        while len(self.param.param) < 4:
            self.param.param.add()
        for spec in self.param.param[0 if self.frozen else 2:]:
            spec.lr_mult = spec.decay_mult = 0

    @property
    def pure(self) -> bool:     # type: ignore[override]
        return self.stored

    @property
    def keeps_batch(self) -> bool:      # type: ignore[override]
        return not self.stored

    def is_statistic(self, index):
        return index >= 2

    def as_affine(self):
        if not self.stored:
            return None
        slope, bias, mean, variance = (b.tensor.flatten() for b in self.blobs)
        factor = slope * (variance + self.eps).rsqrt()
        return factor, bias - mean * factor

    def compute(self, x: Tensor, slope: Tensor, bias: Tensor, mean: Tensor,
                variance: Tensor) -> Tensor:
        if not x.numel() and (self.stored or not self.of_all):
            return x.clone()
        if not self.stored and self.of_all:
            y, *found = normalized_over_all(x, self.eps, self.of_all)
            self._batch = tuple(each.reshape(mean.shape) for each in found)
            return y * slope + bias
        if not self.stored:
            variance, mean = torch.var_mean(x.detach(), (0, 2, 3), correction=0, keepdim=True)
            self._batch = mean, variance
        deviation = (variance.detach() + self.eps).sqrt()
        if self.frozen:
            slope, bias = slope.detach(), bias.detach()
        if self.frozen or (self.stored and self.exact):
            return (x - mean.detach()) / deviation * slope + bias
        return _Normalized.apply(x, mean.detach(), deviation) * slope + bias

    def keep_batch(self, params, bottom):
        if bottom.numel():
            for moving, new in zip(params[2:], self._batch):
                moving.mul_(self.momentum).add_(new, alpha=1 - self.momentum)


class _Normalized(torch.autograd.Function):
    """(x - mean) / deviation, with the gradient that both being statistics of x have."""

    @staticmethod
    def forward(ctx, x, mean, deviation):
        y = (x - mean) / deviation
        ctx.save_for_backward(y, deviation)
        return y

    @staticmethod
    def backward(ctx, gradient):
        y, deviation = ctx.saved_tensors
        axes = (0, 2, 3)
        inner = gradient - gradient.mean(axes, keepdim=True) \
            - y * (gradient * y).mean(axes, keepdim=True)
        return inner / deviation, None, None


class ScaleShiftBN(ChannelLayer):
    """LEARN: y = scale_c (x - mean_c) / sqrt(var_c + 1e-9) + shift_c, the batch's in every phase

    INFERENCE: y = scale_c x + shift_c, for weights that have statistics folded in.
    Parameters: scale, shift (1, C, 1, 1); tops 1, 2 on request: the batch's mean, variance.
    """

    num_top = between(1, 3)

    def setup(self, bottom, top):
        self.check(bottom[0].shape)
        options = self.param.bn_param
        self.inference, self.tops = options.bn_mode == options.INFERENCE, len(top)
        if self.inference and self.tops > 1:
            raise LayerError(f"{self.title}: bn_mode INFERENCE has no statistics for a second top")
        for filler in (options.scale_filler, options.shift_filler):
            self.add_blob((1, bottom[0].shape[1], 1, 1), filler)

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [shapes[0], *[(1, shapes[0][1], 1, 1)] * (self.tops - 1)]

    def as_affine(self):
        return tuple(b.tensor.flatten() for b in self.blobs) if self.inference else None

    def compute(self, x: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, ...]:
        if self.inference:
            return x * scale + shift,
        if not x.numel():
            return x.clone(), torch.zeros_like(scale), torch.zeros_like(scale)
        variance, mean = torch.var_mean(x, (0, 2, 3), correction=0, keepdim=True)
        y = (x - mean) / (variance + SEGNET_EPS).sqrt() * scale + shift
        return (y, mean.detach(), variance.detach())[:self.tops]
