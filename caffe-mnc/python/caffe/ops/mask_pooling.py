"""Mask pooling: features weighted by a soft mask.

    top[n, c, h, w] = features[n, c, h, w] * mask[n, 0, h, w]
"""

from __future__ import annotations

import torch
from torch import Tensor


def mask_pooling(features: Tensor, mask: Tensor) -> Tensor:
    """features (N, C, H, W), mask (N, 1, H, W) -> (N, C, H, W)"""
    if features.dim() != 4 or mask.shape != (features.shape[0], 1, *features.shape[2:]):
        raise ValueError(f"mask_pooling: features must be (N, C, H, W) and the mask (N, 1, H, W), "
                         f"got {tuple(features.shape)} and {tuple(mask.shape)}")
    return mask_pooling_forward(features, mask)


@torch.library.custom_op("caffe::mask_pooling", mutates_args=())
def mask_pooling_forward(features: Tensor, mask: Tensor) -> Tensor:
    return features * mask


@torch.library.custom_op("caffe::mask_pooling_backward_mask", mutates_args=())
def mask_pooling_backward_mask(grad: Tensor, features: Tensor) -> Tensor:
    """d mask[n, 0, h, w] = sum over c of grad[n, c, h, w] * features[n, c, h, w]"""
    return (grad * features).sum(1, keepdim=True)


@mask_pooling_forward.register_fake
def _(features, mask):
    return features * mask


@mask_pooling_backward_mask.register_fake
def _(grad, features):
    return (grad * features).sum(1, keepdim=True)


def _setup_context(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _backward(ctx, grad):
    features, mask = ctx.saved_tensors
    wants_features, wants_mask = ctx.needs_input_grad
    d_features = mask_pooling_forward(grad, mask) if wants_features else None
    d_mask = mask_pooling_backward_mask(grad, features) if wants_mask else None
    return d_features, d_mask


mask_pooling_forward.register_autograd(_backward, setup_context=_setup_context)
