"""Values whose gradient goes elsewhere: for layers whose fork departs from the derivative."""

from __future__ import annotations

import torch
from torch import Tensor


def with_gradient_of(value: Tensor, other: Tensor) -> Tensor:
    """`value`; its gradient goes to `other`, which has the same shape"""
    if not other.requires_grad:     # nobody asks, and other programs can read what this net becomes
        return value.detach()
    return _Substitute.apply(value.detach(), other)


class _Substitute(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value, other):
        return value.view_as(value)

    @staticmethod
    def backward(ctx, gradient):
        return None, gradient
