"""Fillers: the first values of parameters.

A filler maps (shape, FillerParameter, generator) to a float32 CPU tensor of that shape. Values are
drawn on the CPU whatever the device, so that a seed means the same weights everywhere.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from caffe.engine.random import generator
from caffe.engine.registry import Registry
from caffe.proto import caffe_pb2

FILLERS = Registry("filler", ValueError)

Shape = tuple[int, ...]


def drop_fillers(message: Any) -> None:
    """Let all parameters of a layer or net message begin as zeros, which take no memory."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for each in value if hasattr(value, "add") else [value]:
            if isinstance(each, caffe_pb2.FillerParameter):
                each.Clear()
            else:
                drop_fillers(each)


def fill(tensor: torch.Tensor, param: Any) -> None:
    """Fill `tensor` in place as the FillerParameter says; ValueError when it cannot be done.

    Of any shape that the filler can fill.
    """
    values = FILLERS.get(param.type)(tuple(tensor.shape), param, generator("cpu"))
    tensor.copy_(values)


_LARGEST = torch.finfo(torch.float32).max


@FILLERS.register("constant")
def constant(shape: Shape, param: Any, random: torch.Generator) -> torch.Tensor:
    """value; for any shape"""
    return torch.full(shape, param.value)


@FILLERS.register("uniform")
def uniform(shape: Shape, param: Any, random: torch.Generator) -> torch.Tensor:
    """U(min, max). Raises ValueError where that is no finite range."""
    if param.min > param.max:
        raise ValueError(f"uniform filler: min {param.min:g} is above max {param.max:g}")
    if not math.isfinite(param.max - param.min) or abs(param.max - param.min) > _LARGEST:
        raise ValueError(f"uniform filler: from {param.min:g} to {param.max:g} is no finite range")
    return torch.empty(shape).uniform_(param.min, param.max, generator=random)


@FILLERS.register("gaussian")
def gaussian(shape: Shape, param: Any, random: torch.Generator) -> torch.Tensor:
    """N(mean, std^2); `sparse: s` keeps an element with probability s / shape[0], else it is 0

    Raises ValueError for a negative std, or sparse without an axis.
    """
    if param.std < 0:
        raise ValueError(f"gaussian filler: std {param.std:g} is negative")
    values = torch.empty(shape).normal_(param.mean, param.std, generator=random)
    if param.sparse < 0:
        return values
    if not shape:
        raise ValueError("gaussian filler: sparse needs a parameter with at least one axis")
    kept = min(1.0, param.sparse / max(shape[0], 1))
    return values * torch.empty(shape).bernoulli_(kept, generator=random)


@FILLERS.register("xavier")
def xavier(shape: Shape, param: Any, random: torch.Generator) -> torch.Tensor:
    """U(-a, a), a = sqrt(3 / fan); for any shape with axes"""
    bound = math.sqrt(3 / fan(shape, param))
    return torch.empty(shape).uniform_(-bound, bound, generator=random)


@FILLERS.register("msra")
def msra(shape: Shape, param: Any, random: torch.Generator) -> torch.Tensor:
    """N(0, 2 / fan)"""
    return torch.empty(shape).normal_(0, math.sqrt(2 / fan(shape, param)), generator=random)


@FILLERS.register("positive_unitball")
def positive_unitball(shape: Shape, param: Any, random: torch.Generator) -> torch.Tensor:
    """U(0, 1), then every row (all of one index of the first axis) divided by its sum"""
    values = torch.empty(shape).uniform_(0, 1, generator=random)
    rows = values.reshape(shape[0] if shape else 1, math.prod(shape[1:]))
    return (rows / rows.sum(dim=1, keepdim=True)).reshape(shape)


@FILLERS.register("bilinear")
def bilinear(shape: Shape, param: Any, random: torch.Generator) -> torch.Tensor:
    """w[y, x] = (1 - |x/f - c|)(1 - |y/f - c|), f = ceil(K/2), c = (K-1)/(2f), in every channel

    The kernel of a Deconvolution that enlarges by f.

    Shape (channels, 1 or more, K, K). Raises ValueError for any other.
    """
    if len(shape) != 4 or shape[2] != shape[3]:
        raise ValueError(f"bilinear filler: needs 4 axes and square kernels, got shape {shape}")
    size = shape[3]
    factor = math.ceil(size / 2)
    centre = (size - 1) / (2 * factor)
    ramp = 1 - (torch.arange(size) / factor - centre).abs()      # (K,)
    return torch.outer(ramp, ramp).expand(shape)


def fan(shape: Shape, param: Any) -> float:
    """Inputs of an output (FAN_IN), outputs of an input (FAN_OUT) or their mean (AVERAGE)."""
    count = max(math.prod(shape), 1)
    fan_in = count / shape[0] if shape and shape[0] else 1
    fan_out = count / shape[1] if len(shape) > 1 and shape[1] else count
    return {param.FAN_IN: fan_in, param.FAN_OUT: fan_out,
            param.AVERAGE: (fan_in + fan_out) / 2}[param.variance_norm]
