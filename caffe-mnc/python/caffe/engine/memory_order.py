"""Arrays that an update takes side by side: in one order in memory, in pieces that caches hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

PIECE = 1 << 19     # values at a time: with gradient and history 6 MB


def pieces(arrays: Sequence[torch.Tensor]) -> Iterator[tuple[torch.Tensor, ...]]:
    """Parts of arrays of one shape, side by side, small enough to stay in the caches of a CPU."""
    first = arrays[0]
    if first.numel() <= PIECE or first.device.type != "cpu":
        yield tuple(arrays)
        return
    if first.dim() == 4 and not first.is_contiguous():
        arrays = [array.permute(0, 2, 3, 1) for array in arrays]     # of filters, perhaps
    if not all(array.is_contiguous() for array in arrays):
        yield tuple(arrays)
        return
    yield from zip(*(array.view(-1).split(PIECE) for array in arrays))


def in_order_of(value: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """`other`, of the same shape, laid out in memory as `value` is: else sums of both are slow."""
    if other.stride() == value.stride() or (other.is_contiguous() and value.is_contiguous()):
        return other
    return torch.empty_like(value).copy_(other)


def alike_on_the_cpu(arrays: Sequence[torch.Tensor]) -> bool:
    """Whether arrays of one shape are of one precision and lie alike, without gaps, on the CPU."""
    first = arrays[0]
    if first.device.type != "cpu" or not (first.is_contiguous() or (
            first.dim() == 4 and first.is_contiguous(memory_format=torch.channels_last))):
        return False
    return all(x.dtype is first.dtype and x.device == first.device
               and (x.stride() == first.stride() or (x.is_contiguous() and first.is_contiguous()))
               for x in arrays[1:])
