"""L1Loss: of NVIDIA's Caffe (DetectNet) and of FlowNet2."""

from __future__ import annotations

import torch
from torch import Tensor

from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, LossLayer, between, exactly


@LAYERS.register("L1Loss")
class L1Loss(LossLayer):
    """sum of |a - b| / N; differences that are NaN count nothing (DetectNet, FlowNet2)

    bottom: a, [b] (N, C, ...), equal from axis 1 on. l1_loss_param: l2_per_location takes the sum
    over positions of sqrt(sum over channels of d^2 + epsilon) instead, d^2 / C with
    l2_prescale_by_channels, where sums below plateau^2 count as 0; normalize_by_num_entries divides
    by the positions whose differences are numbers.
    """

    num_bottom = between(1, 2)
    num_top = exactly(1)
    no_gradient = ()

    def check(self, *shapes):
        if len({shape[1:] for shape in shapes}) > 1 or len({shape[:1] for shape in shapes}) > 1:
            raise LayerError(f"{self.title}: bottoms must have one shape, got "
                             f"{', '.join(map(str, shapes))}")

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [()]

    def compute(self, a: Tensor, *b: Tensor) -> Tensor:
        options, channels = self.param.l1_loss_param, a.shape[1] if a.dim() > 1 else 1
        difference = a - b[0] if b else a
        known = ~difference.detach().isnan()
        difference = torch.where(known, difference, 0)
        divisor: Tensor | int = max(1, len(a))
        if options.normalize_by_num_entries:
            divisor = (known.sum() / channels).clamp(min=1e-30)
        if not options.l2_per_location:
            return difference.abs().sum() / divisor
        square = difference.square().sum(1)
        if options.l2_prescale_by_channels:
            square = square / channels
        if options.plateau:
            square = torch.where(square < options.plateau ** 2, 0, square)
        return (square + options.epsilon).sqrt().sum() / divisor
