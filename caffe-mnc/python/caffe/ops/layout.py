"""What native kernels take: float32 or float64, a pixel's channels side by side in memory."""

from __future__ import annotations

import torch
from torch import Tensor


def computable(x: Tensor) -> Tensor:
    """x in a precision that the kernels compute in: float32 stands in for lower ones.

    Of any shape.
    """
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def channels_last(x: Tensor) -> Tensor:
    """(N, C, H, W), the memory as of a contiguous (N, H, W, C), in a precision computed in."""
    return computable(x).contiguous(memory_format=torch.channels_last)


def floats_for(features: Tensor) -> torch.dtype:
    """What RoIs and masks beside these features, of any shape, are: what is computed in."""
    return computable(features[:0]).dtype


def channels_second(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """(N, H, W, C) as computed -> (N, C, H, W), the same memory, in the precision asked for."""
    return rows.permute(0, 3, 1, 2).to(dtype)
