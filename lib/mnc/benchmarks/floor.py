"""The least a net could take: its convolutions and matrix products alone.

They are called bare through torch on inputs that exist beforehand: planes channels-last, inference
mode, the same threads, precision and allocator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

import caffe
from caffe.layer_types.convolution import Convolution
from caffe.layer_types.inner_product import InnerProduct
from caffe.ops.int8 import Int8, Levels
from mnc.config import cfg

Call = Callable[[], object]


@dataclass(frozen=True)
class Product:
    """A convolution or matrix product, or a gradient of one."""

    layer: str
    what: str               # forward, d input, d weight
    input: tuple[int, ...]
    weight: tuple[int, ...]
    gflop: float
    seconds: float = 0.0


@dataclass(frozen=True)
class Calls:
    """A product and its gradients, ready to be called; x is their input, y their output."""

    x: Tensor
    y: Tensor
    forward: Call
    to_input: Call
    to_weight: Call


def products(net: caffe.Net, train: bool) -> Iterator[tuple[Product, Call]]:
    """Every product of the last pass of `net`, described and ready to be called, in the precision
    that the configuration asks for."""
    dtype = torch.bfloat16 if cfg.TEST.PRECISION == "bf16" else net.dtype
    if cfg.TEST.PRECISION == "int8" and not train:
        dtype = torch.uint8
    for layer in net.layers:
        if isinstance(layer, (Convolution, InnerProduct)):
            for shape in layer.seen_shapes or ():
                yield from _products_of(layer, shape, train, dtype)


def bare(calls: list[Call]) -> Call:
    """All of them, one after another."""
    def work() -> None:
        with torch.inference_mode():
            for call in calls:
                call()
    return work


def _products_of(layer: Convolution | InnerProduct, shape: tuple[int, ...], train: bool,
                 dtype: torch.dtype) -> Iterator[tuple[Product, Call]]:
    weight, *rest = (blob.tensor.detach().to(layer.dtype if dtype == torch.uint8 else dtype)
                     for blob in layer.blobs)
    bias = rest[0] if rest else None
    calls = (_in_bytes(layer, shape, weight, bias) if dtype == torch.uint8
             else _convolution(layer, shape, weight, bias) if isinstance(layer, Convolution)
             else _inner_product(layer, shape, weight, bias))
    gflop = 2e-9 * calls.y.numel() * weight[0].numel()
    for what, call, wanted in (
            ("forward", calls.forward, True),
            ("d input", calls.to_input, train and layer.bottom_needs_gradient[0]),
            ("d weight", calls.to_weight, train and layer.blob_needs_gradient[0])):
        if wanted:
            yield Product(layer.name, what, tuple(calls.x.shape), tuple(weight.shape), gflop), call


def _convolution(layer: Convolution, shape: tuple[int, ...], weight: Tensor,
                 bias: Tensor | None) -> Calls:
    x = _last(torch.randn(shape, device=weight.device, dtype=weight.dtype))
    weight, window = _last(weight), layer.window
    places = (window.stride, window.pad, window.dilation)
    y = F.conv2d(x, weight, None, *places, layer.group)

    def backward(*mask: bool) -> Call:
        return lambda: torch.ops.aten.convolution_backward(
            y, x, weight, None, *places, False, (0, 0), layer.group, (*mask, False))
    return Calls(x, y, lambda: F.conv2d(x, weight, bias, *places, layer.group),
                 backward(True, False), backward(False, True))


def _in_bytes(layer: Convolution | InnerProduct, shape: tuple[int, ...], weight: Tensor,
              bias: Tensor | None) -> Calls:
    """In 8 bits, from uint8 to uint8; it has no gradients."""
    rounded = layer.round_weight(weight)
    x = torch.randint(0, 256, shape).to(torch.uint8)
    x = _last(x) if len(shape) == 4 and isinstance(layer, Convolution) else x
    params = [rounded.weight, *([] if bias is None else [bias])]
    int8 = Int8(Levels(), Levels(), torch.uint8, rounded.scales)
    y, = layer.run(x, params=params, int8=int8)
    return Calls(x, y, lambda: layer.run(x, params=params, int8=int8), _none, _none)


def _none() -> None:
    """No gradient."""


def _inner_product(layer: InnerProduct, shape: tuple[int, ...], weight: Tensor,
                   bias: Tensor | None) -> Calls:
    x = torch.randn(shape[0], layer.inputs, device=weight.device, dtype=weight.dtype)
    y = torch.randn(shape[0], layer.outputs, device=weight.device, dtype=weight.dtype)
    return Calls(x, y, lambda: F.linear(x, weight, bias),
                 lambda: y @ weight, lambda: y.T @ x)


def _last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
