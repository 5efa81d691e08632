"""Normalisation by statistics of the data."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, TEST, TorchLayer, exactly
from caffe.layer_types.activation import Neuron
from caffe.layer_types.axes import expect_rank
from caffe.layer_types.statistics_of_all import SumOfAll, normalized_over_all


@LAYERS.register("BatchNorm")
class BatchNorm(TorchLayer):
    """y = (x - mean_c) / sqrt(var_c + eps), without scale and shift (a Scale layer adds those)

    Parameters: sum of means (C,), sum of variances (C,), their weight (1,); not learned. With
    use_global_stats (default in TEST) mean and var are the sums over the weight; without, they are
    the batch's, and each forward updates the sums, f = moving_average_fraction:
    sum <- f * sum + batch's, weight <- f * weight + 1; the variance enters with m / (m - 1), m
    values a channel. Of workers that train together each has its own, unless `synchronise`d.
    """

    owns_output = keeps_coordinates = True
    reads_bottoms_again = False         # but the normalised values
    num_statistics = 3

    num_bottom = exactly(1)
    num_top = exactly(1)

    of_all: SumOfAll | None = None      # the sum over workers, where statistics are of all

    def synchronise(self, of_all: SumOfAll) -> None:
        """From now on the batch is that of all workers."""
        self.of_all = of_all

    def setup(self, bottom, top):
        options = self.param.batch_norm_param
        self.eps, self.fraction = options.eps, options.moving_average_fraction
        self.stored = (options.use_global_stats if options.HasField("use_global_stats")
                       else self.phase == TEST)
        channels = bottom[0].shape[1] if len(bottom[0].shape) > 1 else 1
        for shape in ((channels,), (channels,), (1,)):
            self.add_blob(shape)
        self._freeze()

    def _freeze(self) -> None:
        """The statistics are no weights: their learning rates are 0, whatever the net says."""
        while len(self.param.param) < 3:
            self.param.param.add()
        for i, spec in enumerate(self.param.param):
            if spec.HasField("lr_mult") and spec.lr_mult:
                raise LayerError(f"{self.title}: lr_mult of parameter {i} is {spec.lr_mult:g}, but "
                                 f"BatchNorm has no learned parameters; write lr_mult: 0")
            spec.lr_mult = 0

    def check(self, *shapes):
        channels = shapes[0][1] if len(shapes[0]) > 1 else 1
        if channels != self.blobs[0].count:
            raise LayerError(f"{self.title}: has statistics of {self.blobs[0].count} channels, got "
                             f"shape {shapes[0]}")

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [shapes[0]]

    def compute(self, x: Tensor, mean: Tensor, variance: Tensor, factor: Tensor) -> Tensor:
        if x.numel() == 0 and (self.stored or not self.of_all):
            return x.clone()
        image = x if x.dim() > 1 else x[:, None]
        if self.stored:
            y = F.batch_norm(image, *_mean_and_variance(mean, variance, factor),
                             eps=self.eps)
        elif self.of_all:
            y, mean, variance = normalized_over_all(image, self.eps, self.of_all)
            self._batch = mean, variance
        else:
            y, mean, deviation = torch.native_batch_norm(image, None, None, None, None, True, 0.0,
                                                         self.eps)
            self._batch = mean.detach(), deviation.detach() ** -2 - self.eps
        # no reshape() where none is needed: behind a view torch mistakes the layout of the gradient
        # of one image, and gives a wrong one
        return y if x.dim() > 1 else y[:, 0]

    @property
    def pure(self) -> bool:     # type: ignore[override]
        return self.stored

    def as_affine(self):
        if not self.stored:
            return None
        mean, variance = _mean_and_variance(*(blob.tensor for blob in self.blobs))
        factor = (variance + self.eps).rsqrt()
        return factor, -mean * factor

    @property
    def keeps_batch(self) -> bool:      # type: ignore[override]
        return not self.stored

    def keep_batch(self, params, bottom):
        values = bottom.numel() // max(1, params[0].numel())
        if self.of_all:
            values = int(self.of_all(torch.tensor([float(values)], device=self.device)))
        if values:
            mean, variance = self._batch
            unbias = values / (values - 1) if values > 1 else 1.0
            for sums, new in zip(params, (mean, variance * unbias, 1.0)):
                sums.mul_(self.fraction).add_(new)


def _mean_and_variance(mean_sum: Tensor, var_sum: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    factor = torch.where(weight == 0, 0, 1 / weight).detach()
    return mean_sum.detach() * factor, var_sum.detach() * factor


@LAYERS.register("MVN")
class MVN(Neuron):
    """y = (x - mean) / (sqrt(var) + eps) of each channel, or of each image if across_channels

    Without normalize_variance y = x - mean. The gradient takes sqrt(var) + eps for the root of a
    variance, as Caffe's does.
    """

    keeps_coordinates = True

    def compute(self, x: Tensor) -> Tensor:
        options = self.param.mvn_param
        kept = 1 if options.across_channels else 2
        rows = x.reshape(math.prod(x.shape[:kept]), math.prod(x.shape[kept:]))
        if rows.numel() == 0:
            return x.clone()
        y = rows - rows.mean(1, keepdim=True)
        if options.normalize_variance:
            variance = y.square().mean(1, keepdim=True)
            deviation = variance.detach().sqrt() + options.eps
            y = y / (deviation + (variance - variance.detach()) / (2 * deviation))
        return y.reshape(x.shape)


@LAYERS.register("LRN")
class LRN(Neuron):
    """ACROSS_CHANNELS: y = x / (k + alpha / n * sum of x^2 over n channels around) ^ beta

    WITHIN_CHANNEL: y = x / (1 + alpha * mean of x^2 over n x n pixels around) ^ beta
    Outside the map x = 0; n = local_size, odd.
    """

    keeps_coordinates = True

    def setup(self, bottom, top):
        options = self.param.lrn_param
        if options.local_size % 2 == 0:
            raise LayerError(f"{self.title}: local_size must be odd, got {options.local_size}")
        self.across = options.norm_region == options.ACROSS_CHANNELS

    def check(self, *shapes):
        expect_rank(self, shapes[0], 4, "the bottom")

    def compute(self, x: Tensor) -> Tensor:
        o = self.param.lrn_param
        if self.across and torch.compiler.is_exporting():      # torch's own fixes the sizes
            before, count = o.local_size // 2, x.shape[1]
            squares = F.pad(x * x, (0, 0, 0, 0, before, before))
            around = [squares[:, i:i + count] for i in range(o.local_size)]
            return x / (o.k + o.alpha / o.local_size * sum(around[1:], around[0])).pow(o.beta)
        if self.across:
            return F.local_response_norm(x, o.local_size, o.alpha, o.beta, o.k)
        mean = F.avg_pool2d(x * x, o.local_size, 1, o.local_size // 2)
        return x * (1 + o.alpha * mean).pow(-o.beta)


@LAYERS.register("GRN")
class GRN(Neuron):
    """y = x / sqrt(sum of x^2 over the channels + bias), at each position by itself (OpenVINO)"""

    keeps_coordinates = True

    def setup(self, bottom, top):
        if self.param.grn_param.dummy_backward:
            raise LayerError(f"{self.title}: grn_param.dummy_backward is not here; remove it, and "
                             f"the gradient is that of the formula")

    def check(self, *shapes):
        if len(shapes[0]) < 2:
            raise LayerError(f"{self.title}: the bottom must have a channel axis (axis 1), got "
                             f"shape {shapes[0]}")

    def compute(self, x: Tensor) -> Tensor:
        return x * (x.square().sum(1, keepdim=True) + self.param.grn_param.bias).rsqrt()
