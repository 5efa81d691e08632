"""Normalisation by the statistics of the batches of all workers that train together."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

SumOfAll = Callable[[Tensor], Tensor]       # over the workers, in place


def normalized_over_all(x: Tensor, eps: float, of_all: SumOfAll) -> tuple[Tensor, Tensor, Tensor]:
    """y = (x - mean_c) / sqrt(var_c + eps) of x (N, C, ...), and mean and var (C,), of all batches.

    The gradient is that of the sum of all workers' losses.
    """
    shift = [axis for axis in range(x.dim()) if axis != 1]
    count = x.new_tensor([x.numel() / x.shape[1]])
    sums = of_all(torch.cat([x.detach().sum(shift), count]))
    values, mean = sums[-1], sums[:-1] / sums[-1]
    shape = [1, -1, *[1] * (x.dim() - 2)]
    squares = (x.detach() - mean.reshape(shape)).square().sum(shift)
    variance = of_all(squares) / values
    y = _Normalized.apply(x, mean.reshape(shape), (variance + eps).sqrt().reshape(shape), values,
                          of_all)
    return y, mean, variance


class _Normalized(torch.autograd.Function):
    """(x - mean) / deviation; dx = (g - mean of g - y * mean of g y) / deviation, of all"""

    @staticmethod
    def forward(ctx, x, mean, deviation, values, of_all):
        y = (x - mean) / deviation
        ctx.save_for_backward(y, deviation, values)
        ctx.of_all = of_all
        return y

    @staticmethod
    def backward(ctx, gradient):
        y, deviation, values = ctx.saved_tensors
        axes = [axis for axis in range(y.dim()) if axis != 1]
        sums = torch.cat([gradient.sum(axes), (gradient * y).sum(axes)])
        mean, inner = (ctx.of_all(sums) / values).chunk(2)
        shape = deviation.shape
        return (gradient - mean.reshape(shape) - y * inner.reshape(shape)) / deviation, \
            None, None, None, None
