"""Convolutions that also do what stands before or behind them in other programs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from caffe.engine.errors import WeightsError
from caffe.engine.formats.state_dict import State


def parameter(state: State, name: str) -> Tensor:
    """A tensor of a state_dict, of any shape, as float32; WeightsError if it is not there."""
    if name not in state:
        raise WeightsError(f"no {name} among the weights; there are {', '.join([*state][:6])}, … "
                           f"({len(state)} in all)")
    return state[name].float()


def takes_bgr_pixels(weight: Tensor, deviations: Sequence[float]) -> Tensor:
    """Of a first convolution of RGB values / 255 over these deviations: for BGR pixels.

    weight: (O, 3, h, w). The pixels have their mean subtracted, so padding is 0 in both. Raises
    WeightsError for another number of channels.
    """
    if weight.dim() != 4 or weight.shape[1] != 3:
        raise WeightsError(f"the first convolution, of shape {tuple(weight.shape)}, takes "
                           f"{weight.shape[1] if weight.dim() > 1 else 0} channels, not R, G, B")
    scale = 255 * torch.tensor(deviations, dtype=torch.float64)
    return (weight.double() / scale[:, None, None]).flip(1).float()


def with_batch_norm(weight: Tensor, state: State, norm: str, eps: float) -> tuple[Tensor, Tensor]:
    """Weight (O, C, h, w) and bias (O,) of a convolution and the BatchNorm `norm` behind it."""
    mean, variance, scale, shift = (
        parameter(state, f"{norm}.{name}").double()
        for name in ("running_mean", "running_var", "weight", "bias"))
    factor = scale / (variance + eps).sqrt()
    columns = factor.reshape(-1, *[1] * (weight.dim() - 1))
    return (weight.double() * columns).float(), (shift - mean * factor).float()


def begun_earlier(weight: Tensor) -> Tensor:
    """(O, C, h, w) -> (O, C, h + 1, w + 1): zeros in front, for windows that begin one earlier."""
    return torch.nn.functional.pad(weight, (1, 0, 1, 0))
