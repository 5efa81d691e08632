"""Large arrays on the CPU in pages of their own: the system has them again as soon as they go.

An allocator that keeps freed memory keeps it in pieces, and into the hole that a matrix of 400 MB
leaves the next one may not fit. Memory that is taken in every pass is better kept: see `allocator`.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence

import torch

LARGE = 1 << 20         # bytes


def zeros(shape: Sequence[int], dtype: torch.dtype,
          device: torch.device | str = "cpu") -> torch.Tensor:
    """torch.zeros(shape); of large arrays on the CPU no page is taken before it is written."""
    size = math.prod(shape) * dtype.itemsize
    if torch.device(device).type != "cpu" or size < LARGE or not hasattr(mmap, "MAP_PRIVATE"):
        return torch.zeros(tuple(shape), dtype=dtype, device=device)
    pages = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return torch.frombuffer(pages, dtype=dtype).reshape(shape)


def converted(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """x.to(dtype), contiguous where that is another precision; of any shape."""
    return x if x.dtype == dtype else zeros(x.shape, dtype, x.device).copy_(x)
