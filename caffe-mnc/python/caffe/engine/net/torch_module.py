"""A net as an ordinary torch.nn.Module, `net.to_torch()`: it keeps nothing of the net."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from caffe.engine.blob import Blob
from caffe.engine.errors import CaffeError
from caffe.engine.fillers import drop_fillers
from caffe.engine.layer import TEST, TRAIN, Layer, TorchLayer
from caffe.engine.net.build import Node, make_layer
from caffe.engine.registry import nearest
from caffe.proto import caffe_pb2

if TYPE_CHECKING:
    from caffe.engine.net.net import Net


class TorchNet(nn.Module):
    """forward(*inputs, **inputs by name) -> {output: tensor}; a submodule a layer, by its name.

    Inputs are the net's, and the tops of its data layers, in their order (`inputs`); `outputs` are
    the keys of the result. Any shapes that the layers take. Parameters that layers share are one.
    `train()` and `eval()` switch between the phases TRAIN and TEST of all layers whose prototxt
    does not fix theirs. A name that torch cannot take has _ for its dots, or behind it.

    Raises CaffeError for a layer that is no function of tensors.
    """

    def __init__(self, net: Net, outputs: Iterable[str] | None = None) -> None:
        super().__init__()
        self.outputs = list(net.outputs if outputs is None else outputs)
        numbers = {name: i for node in net.nodes for i, name in zip(node.top_ids, node.top_names)}
        self._results = [(name, _found(name, numbers)) for name in self.outputs]
        memory = {i: blob.memory for node in net.nodes for i, blob in zip(node.top_ids, node.top)}
        nodes = _leading_to(net.nodes, {memory[i] for _, i in self._results})
        sources = [node for node in nodes if not node.bottom_ids and not node.layer.pure]
        nodes = [node for node in nodes if node not in sources]
        _refuse([node.layer for node in nodes if not _can_go(node.layer)])
        read = {i for node in nodes for i in node.bottom_ids} | {i for _, i in self._results}
        entries = [(name, i) for node in sources
                   for name, i in zip(node.top_names, node.top_ids) if i in read]
        self.inputs = [name for name, _ in entries]
        self._entries = [i for _, i in entries]
        parameters = _Parameters(net)
        self._steps = []
        for node in nodes:
            name = _free_name(self, node.layer.name)
            self._modules[name] = TorchLayerModule(node, net, parameters)
            self._steps.append(_Step(name, node.bottom_ids, node.top_ids, _beside(node, memory)))
        self.train(net.phase == TRAIN)

    def forward(self, *values: Tensor, **named: Tensor) -> dict[str, Tensor]:
        """The outputs by name, for one tensor an input, of any shape that the layers take.

        Raises TypeError if inputs are missing, unknown or given twice.
        """
        found = dict(zip(self._entries, self._in_order(values, named)))
        for step in self._steps:
            module = self._modules[step.module]
            tops = module(*(found[i] for i in step.reads))      # type: ignore[misc]
            found.update(zip(step.writes, tops))
            for i, others in step.beside.items():
                found.update((j, found[i].reshape(found[j].shape)) for j in others if j in found)
        return {name: found[i] for name, i in self._results}

    def _in_order(self, values: tuple[Tensor, ...], named: dict[str, Tensor]) -> list[Tensor]:
        given = {**dict(zip(self.inputs, values)), **named}
        twice = set(self.inputs[:len(values)]) & set(named)
        if len(values) > len(self.inputs) or set(given) != set(self.inputs) or twice:
            what = [*(f"{len(values)} without a name" for _ in values[:1]), *named]
            raise TypeError(f"inputs are {', '.join(self.inputs) or 'none'}; each is to be given "
                            f"once, got {', '.join(what) or 'none'}")
        return [given[name] for name in self.inputs]


class TorchLayerModule(nn.Module):
    """One layer: its parameters, and the layer as set up for each phase, with no values in it.

    A parameter is called as the layer's formula in `compute` calls it. One with lr_mult 0 does not
    require a gradient; statistics are buffers.
    """

    def __init__(self, node: Node, net: Net, parameters: _Parameters) -> None:
        super().__init__()
        self._layers = {phase: _set_up(node, net, phase) for phase in (TRAIN, TEST)}
        self._shapes = [blob.shape for blob in node.layer.blobs]
        self._names: list[str] = []
        for i, name in enumerate(_parameter_names(node)):
            self._names.append(_free_name(self, name))
            parameters.register(self, self._names[-1], node.layer, i)

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        """The tops of the layer, from its bottoms, of any shapes that it takes."""
        layer = self._layers[TRAIN if self.training else TEST]
        params = [getattr(self, name) for name in self._names]
        tops = layer.run(*bottoms, params=[p if p.shape == shape else p.reshape(shape)
                                           for p, shape in zip(params, self._shapes)])
        if self.training and layer.keeps_batch:
            with torch.no_grad():
                layer.keep_batch(params, bottoms[0])
        return tops

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> TorchLayerModule:
        """What .to(), .double() and .cuda() call: constants of the layer go along."""
        super()._apply(fn, recurse)
        for layer in self._layers.values():
            for name, value in list(vars(layer).items()):
                if isinstance(value, Tensor):
                    setattr(layer, name, fn(value))
            probe = fn(torch.empty(0, dtype=layer.dtype, device=layer.device))
            layer.dtype, layer.device = probe.dtype, probe.device
        return self


@dataclass(frozen=True)
class _Step:
    """A submodule, the numbers of the blobs it reads and writes, and what lies in their memory."""

    module: str
    reads: list[int]
    writes: list[int]
    beside: dict[int, list[int]]


class _Parameters:
    """Copies of the net's parameters as torch's; those of one memory are one."""

    def __init__(self, net: Net) -> None:
        self._lr_mult = {blob.memory: lr for blob, lr in zip(net.learnable_params, net.params_lr)}
        self._made: dict[int, Tensor] = {}

    def register(self, module: nn.Module, name: str, layer: Layer, index: int) -> None:
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


def _found(name: str, numbers: dict[str, int]) -> int:
    """The number of the blob of that name. Raises CaffeError without one."""
    if name not in numbers:
        raise CaffeError(f'the net has no blob "{name}";{nearest(name, numbers)}')
    return numbers[name]


def _leading_to(nodes: list[Node], wanted: set[int]) -> list[Node]:
    """The layers whose tops lie in a memory of `wanted`, or in one that such a layer reads."""
    found = []
    for node in reversed(nodes):
        tops = {blob.memory for blob in node.top}
        if wanted & tops:
            wanted = wanted - tops | {blob.memory for blob in node.bottom}
            found.append(node)
    return found[::-1]


def _can_go(layer: Layer) -> bool:
    return layer.pure or layer.keeps_batch


def _refuse(layers: list[Layer]) -> None:
    if layers:
        said = "; ".join(f"{layer.title}: {layer.bound_because}" for layer in layers)
        raise CaffeError(f"{said}. To leave such layers out, ask for blobs before them "
                         f"(outputs=[...], --outputs)")


def _beside(node: Node, memory: dict[int, int]) -> dict[int, list[int]]:
    """What a layer in place overwrites -> the other blobs on that memory, such as a Reshape's."""
    return {i: [j for j, m in memory.items() if m == memory[i] and j != i]
            for i in set(node.top_ids).intersection(node.bottom_ids)}


def _free_name(module: nn.Module, name: str) -> str:
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
