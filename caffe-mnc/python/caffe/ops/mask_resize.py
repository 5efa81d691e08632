"""Mask resizing: bilinear, corner aligned at 0 (no half pixel).

    top[n, c, p, q] = bilinear(x[n, c], p * h / H, q * w / W)

The forward pass is the same in both modes. Gradient:

REFERENCE (0), the public MNC code: pixel i hears only from the outputs floor(i / ratio) and the one
    after it, and only if their sample point is less than a pixel away. That is the adjoint when
    shrinking; most of the gradient is lost when enlarging.
EXACT (1): the adjoint.
"""

from __future__ import annotations

import torch
from torch import Tensor

from caffe.ops.bilinear import clamped_taps, dense
from caffe.ops.mode import Mode, check_mode


def mask_resize(x: Tensor, height: int, width: int, mode: int = Mode.REFERENCE) -> Tensor:
    """(N, C, h, w) -> (N, C, height, width). Raises ValueError for other shapes."""
    if x.dim() != 4 or not x.is_floating_point() or min(x.shape[2:]) < 1:
        raise ValueError(f"mask_resize: a floating tensor (N, C, h, w) of at least 1 x 1 pixels is "
                         f"needed, got {x.dtype} {tuple(x.shape)}")
    if height <= 0 or width <= 0:
        raise ValueError(f"mask_resize: the output must be at least 1 x 1, got {height} x {width}")
    check_mode("mask_resize", mode)
    if torch.compiler.is_exporting():       # others have no such operator
        return _resized(x, height, width)
    return mask_resize_forward(x, height, width, int(mode))


@torch.library.custom_op("caffe::mask_resize", mutates_args=())
def mask_resize_forward(x: Tensor, height: int, width: int, mode: int) -> Tensor:
    return _resized(x, height, width)


def _resized(x: Tensor, height: int, width: int) -> Tensor:
    y_taps = clamped_taps(_points(x.shape[2], height, x), x.shape[2])
    x_taps = clamped_taps(_points(x.shape[3], width, x), x.shape[3])
    top = x.new_zeros(*x.shape[:2], height, width)
    for a in (0, 1):
        for b in (0, 1):
            weight = y_taps.weight[a, :, None] * x_taps.weight[b]        # (H, W)
            top += x[:, :, y_taps.pixel[a, :, None], x_taps.pixel[b]] * weight
    return top


@torch.library.custom_op("caffe::mask_resize_backward", mutates_args=())
def mask_resize_backward(grad: Tensor, height: int, width: int, mode: int) -> Tensor:
    """d x[n, c] = Y^T grad[n, c] X, Y (H, height) and X (W, width) the sampling weights"""
    rows = _adjoint(height, grad.shape[2], mode, grad)
    columns = _adjoint(width, grad.shape[3], mode, grad)
    return (rows.T @ grad @ columns).contiguous()


@mask_resize_forward.register_fake
def _(x, height, width, mode):
    return x.new_empty((*x.shape[:2], height, width))


@mask_resize_backward.register_fake
def _(grad, height, width, mode):
    return grad.new_empty((*grad.shape[:2], height, width))


def _setup_context(ctx, inputs, output):
    x, _, _, ctx.mode = inputs
    ctx.size = x.shape[2:]


def _backward(ctx, grad):
    return mask_resize_backward(grad, *ctx.size, ctx.mode), None, None, None


mask_resize_forward.register_autograd(_backward, setup_context=_setup_context)


def _ratio(size: int, outputs: int, like: Tensor) -> Tensor:
    return torch.tensor(size, dtype=like.dtype, device=like.device) / outputs


def _points(size: int, outputs: int, like: Tensor) -> Tensor:
    """Sample points of `outputs` pixels over an axis of `size`."""
    ratio = _ratio(size, outputs, like)
    return torch.arange(outputs, dtype=like.dtype, device=like.device) * ratio


def _adjoint(size: int, outputs: int, mode: int, like: Tensor) -> Tensor:
    """(outputs, size) weights that the gradient is spread with along one axis."""
    point = _points(size, outputs, like)
    taps = clamped_taps(point, size)
    matrix = dense(taps.pixel, taps.weight, size)
    if mode == Mode.EXACT:
        return matrix
    pixel = torch.arange(size, dtype=like.dtype, device=like.device)
    output = torch.arange(outputs, dtype=like.dtype, device=like.device)[:, None]
    heard = (pixel / _ratio(size, outputs, like)).floor()
    near = (output == heard) | (output == heard + 1)
    return matrix * (near & ((point[:, None] - pixel).abs() < 1))
