"""Mask pooling: features weighted by a soft mask.

    top[n, c, h, w] = features[n, c, h, w] * mask[n, 0, h, w]
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from caffe.ops.layout import computable, floats_for


def mask_pooling(features: Tensor, mask: Tensor) -> Tensor:
    """features (N, C, H, W), mask (N, 1, H, W) -> (N, C, H, W), channels-last if features are.

    The mask has the features' dtype, or is float32 beside features of less. Raises ValueError for
    other shapes, TypeError for other dtypes.
    """
    _check("mask_pooling", features, mask)
    if torch.compiler.is_exporting():       # others have no such operator
        return features * mask
    return mask_pooling_forward(features, mask)


def mask_pooling_pooled(features: Tensor, mask: Tensor) -> Tensor:
    """The 2 x 2 maxima of mask_pooling: (N, C, H / 2, W / 2), H and W even.

    For inference: it has no gradient. The native kernel does not write the larger map at all.
    Raises ValueError for other shapes, TypeError as mask_pooling does.
    """
    _check("mask_pooling_pooled", features, mask)
    if any(n % 2 for n in features.shape[2:]):
        raise ValueError(f"mask_pooling_pooled: height and width must be even, got "
                         f"{tuple(features.shape)}")
    return mask_pooling_pooled_forward(features, mask)


def _check(op: str, features: Tensor, mask: Tensor) -> None:
    if features.dim() != 4 or mask.shape != (features.shape[0], 1, *features.shape[2:]):
        raise ValueError(f"{op}: features must be (N, C, H, W) and the mask (N, 1, H, W), "
                         f"got {tuple(features.shape)} and {tuple(mask.shape)}")
    if not features.is_floating_point() or mask.dtype not in (features.dtype,
                                                              floats_for(features)):
        raise TypeError(f"{op}: features and mask must have one floating dtype, "
                        f"got {features.dtype} and {mask.dtype}")


def memory_format(features: Tensor) -> torch.memory_format:
    """How the features lie in memory, and so the top: channels-last, or else contiguous.

    features (N, C, H, W).
    """
    channels_last = features.is_contiguous(memory_format=torch.channels_last)
    if channels_last and not features.is_contiguous():
        return torch.channels_last
    return torch.contiguous_format


@torch.library.custom_op("caffe::mask_pooling", mutates_args=())
def mask_pooling_forward(features: Tensor, mask: Tensor) -> Tensor:
    product = (computable(features) * computable(mask)).to(features.dtype)
    return product.contiguous(memory_format=memory_format(features))


@torch.library.custom_op("caffe::mask_pooling_pooled", mutates_args=())
def mask_pooling_pooled_forward(features: Tensor, mask: Tensor) -> Tensor:
    pooled = F.max_pool2d(mask_pooling_forward(features, mask), 2, 2)
    return pooled.contiguous(memory_format=torch.channels_last)


@torch.library.custom_op("caffe::mask_pooling_backward_mask", mutates_args=())
def mask_pooling_backward_mask(grad: Tensor, features: Tensor) -> Tensor:
    """d mask[n, 0, h, w] = sum over c of grad[n, c, h, w] * features[n, c, h, w]"""
    products = computable(grad) * computable(features)
    return products.sum(1, keepdim=True).to(features.dtype).contiguous()


@mask_pooling_forward.register_fake
def _(features, mask):
    return torch.empty_like(features, memory_format=memory_format(features))


@mask_pooling_pooled_forward.register_fake
def _(features, mask):
    images, channels, height, width = features.shape
    return features.new_empty((images, height // 2, width // 2, channels)).permute(0, 3, 1, 2)


@mask_pooling_backward_mask.register_fake
def _(grad, features):
    return features.new_empty(features.shape[0], 1, *features.shape[2:])


def _setup_context(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _backward(ctx, grad):
    features, mask = ctx.saved_tensors
    wants_features, wants_mask = ctx.needs_input_grad
    d_features = mask_pooling_forward(grad, mask) if wants_features else None
    d_mask = mask_pooling_backward_mask(grad, features).to(mask.dtype) if wants_mask else None
    return d_features, d_mask


mask_pooling_forward.register_autograd(_backward, setup_context=_setup_context)
