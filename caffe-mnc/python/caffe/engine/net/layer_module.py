"""One layer of a net as a torch.nn.Module: what `net.to_torch()` is made of."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from caffe.engine.blob import Blob
from caffe.engine.fillers import drop_fillers
from caffe.engine.layer import TEST, TRAIN, Layer, TorchLayer
from caffe.engine.net.build import Node, make_layer
from caffe.proto import caffe_pb2

if TYPE_CHECKING:
    from caffe.engine.net.net import Net


class LayerModule(nn.Module):
    """One layer: its parameters, and the layer as set up for each phase, with no values in it.

    A parameter is called as the layer's formula in `compute` calls it. One with lr_mult 0 does not
    require a gradient; statistics are buffers.
    """

    def __init__(self, node: Node, net: Net, parameters: Parameters) -> None:
        super().__init__()
        self._layers = {phase: _set_up(node, net, phase) for phase in (TRAIN, TEST)}
        self.form = self._layers[TEST].tensor_form()
        self._shapes = [blob.shape for blob in node.layer.blobs]
        self._tops = len(node.top)
        self._names: list[str] = []
        for i, name in enumerate(_parameter_names(node)):
            self._names.append(free_name(self, name))
            parameters.register(self, self._names[-1], node.layer, i)

    @property
    def layer(self) -> Layer:
        """The layer of the present phase."""
        return self._layers[TRAIN if self.training else TEST]

    @property
    def parameters_in_order(self) -> list[Tensor]:
        """As `compute` takes them, in the shapes of its blobs."""
        values = [getattr(self, name) for name in self._names]
        return [p if p.shape == shape else p.reshape(shape)
                for p, shape in zip(values, self._shapes)]

    @property
    def parameter_names(self) -> list[str]:
        """Their attributes of this module, in order."""
        return list(self._names)

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        """The tops of the layer, from its bottoms, of any shapes that it takes."""
        layer = self.layer
        if self.form is not None and not self.training:
            return self.form(*bottoms)
        params = self.parameters_in_order
        if not (layer.pure or isinstance(layer, TorchLayer)):
            return _OnBlobs.apply(layer, self._tops, *bottoms, *params)
        if not torch.compiler.is_exporting():
            layer.start_run(params)
        tops = layer.run(*bottoms, params=params)
        if self.training and layer.keeps_batch:
            with torch.no_grad():
                layer.keep_batch([getattr(self, name) for name in self._names], bottoms[0])
        return tops

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> LayerModule:
        """What .to(), .double() and .cuda() call: constants of the layer go along."""
        super()._apply(fn, recurse)
        for layer in self._layers.values():
            for name, value in list(vars(layer).items()):
                if isinstance(value, Tensor):
                    setattr(layer, name, fn(value))
                elif isinstance(value, list) and all(isinstance(x, Tensor) for x in value):
                    setattr(layer, name, [fn(x) for x in value])
            probe = fn(torch.empty(0, dtype=layer.dtype, device=layer.device))
            layer.dtype, layer.device = probe.dtype, probe.device
        return self


class _OnBlobs(torch.autograd.Function):
    """A layer that reads and writes blobs, as a function: its own forward and its own backward."""

    @staticmethod
    def forward(ctx: Any, layer: Layer, count: int, *values: Tensor) -> Any:
        number = len(values) - len(layer.blobs)
        bottom, top = ([Blob((), layer.dtype, layer.device) for _ in range(n)]
                       for n in (number, count))
        for blob, value in zip([*bottom, *layer.blobs], values):
            blob.tensor = value.detach()
        needs = ctx.needs_input_grad[2:]
        layer.bottom_needs_gradient = list(needs[:number])
        layer.blob_needs_gradient = list(needs[number:])
        layer.recording = any(needs)
        layer.reshape(bottom, top)
        layer.forward(bottom, top)
        ctx.layer, ctx.bottom, ctx.top = layer, bottom, top
        ctx.needs = needs
        return tuple(blob.tensor.clone() for blob in top)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        layer, bottom, top = ctx.layer, ctx.bottom, ctx.top
        for blob, gradient in zip(top, gradients):
            blob.diff_tensor = gradient.contiguous()
        for blob in layer.blobs:
            blob.diff_tensor = torch.zeros_like(blob.tensor)
        layer.backward(top, list(ctx.needs[:len(bottom)]), bottom)
        found = [blob.diff_tensor.clone() if need else None
                 for blob, need in zip([*bottom, *layer.blobs], ctx.needs)]
        return None, None, *found


class Parameters:
    """Copies of the net's parameters as torch's; those of one memory are one."""

    def __init__(self, net: Net) -> None:
        self._lr_mult = {blob.memory: lr for blob, lr in zip(net.learnable_params, net.params_lr)}
        self._made: dict[int, Tensor] = {}

    def register(self, module: nn.Module, name: str, layer: Layer, index: int) -> None:
        """Give the module the layer's parameter of that index, under this name."""
        blob = layer.blobs[index]
        if blob.memory not in self._made:
            value = blob.tensor.detach().clone()
            self._made[blob.memory] = value if layer.is_statistic(index) else \
                nn.Parameter(value, requires_grad=self._lr_mult.get(blob.memory, 1.0) != 0)
        made = self._made[blob.memory]
        if isinstance(made, nn.Parameter):
            module.register_parameter(name, made)
        else:
            module.register_buffer(name, made)


def reason_it_stays(layer: Layer) -> str | None:
    """Why no graph of another program can hold this layer of a test net; None if one can."""
    if layer.pure or layer.keeps_batch or layer.graph_note or layer.tensor_form() is not None:
        return None
    return f"{layer.title}: {layer.bound_because}"


def free_name(module: nn.Module, name: str) -> str:
    """`name`, as torch can take it and as the module does not have it yet."""
    name = name.replace(".", "_") or "_"
    while hasattr(module, name):
        name += "_"
    return name


def _parameter_names(node: Node) -> list[str]:
    """From the arguments of `compute` behind the bottoms; numbered where it has no names."""
    layer, count, named = node.layer, len(node.layer.blobs), []
    if isinstance(layer, TorchLayer):
        taken = 1 if layer.per_bottom else len(node.bottom_ids)
        arguments = list(inspect.signature(layer.compute).parameters.values())
        named = [a.name for a in arguments if a.kind is a.POSITIONAL_OR_KEYWORD][taken:]
    return named[:count] if len(named) >= count else [f"parameter_{i}" for i in range(count)]


def _set_up(node: Node, net: Net, phase: Any) -> Layer:
    """The layer anew, in that phase if its own text does not say another, without values."""
    message = caffe_pb2.LayerParameter()
    message.CopyFrom(node.layer.param)
    message.ClearField("blobs")
    drop_fillers(message)       # it reads as zeros and takes no memory: nobody reads it
    phase = message.phase if message.HasField("phase") else phase
    layer = make_layer(message, phase, net.dtype, net.device)
    blobs = {i: Blob(blob.shape, net.dtype, net.device) for i, blob in zip(
        [*node.bottom_ids, *node.top_ids], [*node.bottom, *node.top])}
    layer.setup([blobs[i] for i in node.bottom_ids], [blobs[i] for i in node.top_ids])
    return layer
