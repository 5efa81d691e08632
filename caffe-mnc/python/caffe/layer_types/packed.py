"""Weights in the layout that the CPU's kernels compute in, so that not every product packs them.

A packed weight is a tensor in torch's oneDNN layout, of the same shape and values (`to_dense`). The
operators are those that torch's own compiler calls; where this torch or processor has them not,
weights stay as they are. Measured on two cores with AVX-512, of the time with plain weights: fc6 of
VGG-16 on 300 rows 0.76, on 7 rows 0.4; its convolutions with ReLU 0.89. Of a small product it is
more: a call of these operators prepares as long as 1.5 million multiply-adds take.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from caffe.layer_types.window import Window

SMALL = 1_500_000           # multiply-adds: calling a packed kernel costs 15 us more than they take
SMALL_OF_PIXELS = 16_000_000        # the same of a product for each pixel, with few weights
FEW_WEIGHTS, FEW_VALUES = 1 << 17, 20480
OPERATORS = ("_reorder_convolution_weight", "_convolution_pointwise", "_reorder_linear_weight",
             "_linear_pointwise", "_is_mkldnn_bf16_supported")


@cache
def _computable(dtype: torch.dtype) -> bool:
    operators = torch.ops.mkldnn
    if not torch.backends.mkldnn.is_available() or \
            not all(hasattr(operators, name) for name in OPERATORS):
        return False
    return dtype == torch.float32 or \
        (dtype == torch.bfloat16 and operators._is_mkldnn_bf16_supported())


def packable(weight: Tensor, dtype: torch.dtype) -> bool:
    """Whether a weight, of any shape, can be packed in that precision."""
    return weight.device.type == "cpu" and weight.numel() > 0 and _computable(dtype)


def small_product(weight: Tensor, rows: int) -> bool:
    """Whether torch's plain x W^T is the faster one, for x of so many rows."""
    return weight.dtype == torch.float32 and rows * weight.numel() < SMALL


def small_convolution(weight: Tensor, shape: tuple[int, ...], window: Window, group: int) -> bool:
    """Whether torch convolves an image (1, C, H, W) of that shape with kernels of its own, not with
    oneDNN's, and these are the faster ones.
    """
    if weight.dtype != torch.float32 or shape[0] != 1 or group != 1 or \
            max(*window.stride, *window.dilation) > 1:
        return False
    products = weight.numel() * math.prod(shape[2:])
    if window.kernel == (1, 1):
        return (torch.get_num_threads() == 1 and weight.numel() < FEW_WEIGHTS
                and products < SMALL_OF_PIXELS)
    return min(window.kernel) <= 3 and math.prod(shape) <= FEW_VALUES and products < SMALL


def pack_matrix(weight: Tensor) -> Tensor:
    """W (N, K), packed where that can be."""
    if not packable(weight, weight.dtype):
        return weight
    return torch.ops.mkldnn._reorder_linear_weight(weight)


def pack_filter(weight: Tensor, window: Window, group: int) -> Tensor:
    """W (N, C / group, kernel_h, kernel_w), packed where that can be."""
    if not packable(weight, weight.dtype):
        return weight
    return torch.ops.mkldnn._reorder_convolution_weight(
        weight.contiguous(memory_format=torch.channels_last), window.pad, window.stride,
        window.dilation, group)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    """activation(x W^T + b) for x (..., K) and packed W (N, K): (..., N)"""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, activation, [], "")


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, window: Window, group: int,
             activation: str) -> Tensor:
    """activation(W * x + b) for x (N, C, H, W) and packed filters; channels-last."""
    return torch.ops.mkldnn._convolution_pointwise(
        x, weight, bias, window.pad, window.stride, window.dilation, group, activation, [], "")
