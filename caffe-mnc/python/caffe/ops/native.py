"""The C++ kernels (src/ops/*.cpp), registered for the CPU on the schemas of the other modules.

A kernel takes what the reference takes and gives the same result. It computes in float32 or
float64; other precisions it computes in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from caffe.ops import _native
from caffe.ops.mask_pooling import mask_pooling_backward_mask, mask_pooling_forward


def _wide(x: Tensor) -> bool:
    return x.dtype == torch.float64


def _computable(x: Tensor) -> Tensor:
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def _channels_last(x: Tensor) -> Tensor:
    """(N, C, H, W) with the rows of channels contiguous, in a precision that is computed in."""
    return _computable(x).contiguous(memory_format=torch.channels_last)


@mask_pooling_forward.register_kernel("cpu")
def _(features: Tensor, mask: Tensor) -> Tensor:
    rows, by = _channels_last(features), _computable(mask).contiguous()
    top = torch.empty_like(rows)
    _native.mask_pooling(_wide(rows), rows.data_ptr(), by.data_ptr(), top.data_ptr(), by.numel(),
                         rows.shape[1], torch.get_num_threads())
    return top.to(features.dtype)


@mask_pooling_backward_mask.register_kernel("cpu")
def _(grad: Tensor, features: Tensor) -> Tensor:
    grad, rows = _channels_last(grad), _channels_last(features)
    images, channels, height, width = rows.shape
    mask = rows.new_empty(images, 1, height, width)
    _native.mask_pooling_backward_mask(_wide(rows), grad.data_ptr(), rows.data_ptr(),
                                       mask.data_ptr(), mask.numel(), channels,
                                       torch.get_num_threads())
    return mask.to(features.dtype)
