"""A net as an ordinary torch.nn.Module, `net.to_torch()`: it keeps nothing of the net."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from caffe.engine.errors import CaffeError
from caffe.engine.layer import TRAIN, Layer
from caffe.engine.net.build import Node
from caffe.engine.net.layer_module import LayerModule, Parameters, free_name, reason_it_stays
from caffe.engine.registry import nearest

if TYPE_CHECKING:
    from caffe.engine.net.net import Net


class TorchNet(nn.Module):
    """forward(*inputs, **inputs by name) -> {output: tensor}; a submodule a layer, by its name.

    Inputs are the net's, and the tops of its data layers, in their order (`inputs`); `outputs` are
    the keys of the result. Any shapes that the layers take. Parameters that layers share are one.
    `train()` and `eval()` switch between the phases TRAIN and TEST of all layers whose prototxt
    does not fix theirs. A name that torch cannot take has _ for its dots, or behind it. Layers that
    read and write blobs, such as Python layers, do so here, too, with their own backward, if they
    have no tensor form (`Layer.tensor_form`).
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
        read = {i for node in nodes for i in node.bottom_ids} | {i for _, i in self._results}
        entries = [(name, i) for node in sources
                   for name, i in zip(node.top_names, node.top_ids) if i in read]
        self.inputs = [name for name, _ in entries]
        self._entries = [i for _, i in entries]
        parameters = Parameters(net)
        self._steps = []
        for node in nodes:
            name = free_name(self, node.layer.name)
            self._modules[name] = LayerModule(node, net, parameters)
            self._steps.append(_Step(name, node.bottom_ids, node.top_ids, _beside(node, memory)))
        self.train(net.phase == TRAIN)

    def forward(self, *values: Tensor, **named: Tensor) -> dict[str, Tensor]:
        """The outputs by name, for one tensor an input, of any shape that the layers take.

        Raises TypeError if inputs are missing, unknown or given twice.
        """
        found = dict(zip(self._entries, self._in_order(values, named)))
        for step in self._steps:
            module = self._modules[step.module]
            tops = module(*[found[i] for i in step.reads])      # type: ignore[misc]
            found.update(zip(step.writes, tops))
            for i, others in step.beside.items():
                found.update((j, found[i].reshape(found[j].shape)) for j in others if j in found)
        return {name: found[i] for name, i in self._results}

    @property
    def layers(self) -> list[Layer]:
        """The layers it is made of, in their order."""
        return [module.layer for module in self._modules.values()
                if isinstance(module, LayerModule)]

    @property
    def bound(self) -> list[str]:
        """Of layers that no graph of another program can hold: which, and why."""
        return [reason for layer in self.layers if (reason := reason_it_stays(layer))]

    def _in_order(self, values: tuple[Tensor, ...], named: dict[str, Tensor]) -> list[Tensor]:
        given = {**dict(zip(self.inputs, values)), **named}
        twice = set(self.inputs[:len(values)]) & set(named)
        if len(values) > len(self.inputs) or set(given) != set(self.inputs) or twice:
            what = [*(f"{len(values)} without a name" for _ in values[:1]), *named]
            raise TypeError(f"inputs are {', '.join(self.inputs) or 'none'}; each is to be given "
                            f"once, got {', '.join(what) or 'none'}")
        return [given[name] for name in self.inputs]


@dataclass(frozen=True)
class _Step:
    """A submodule, the numbers of the blobs it reads and writes, and what lies in their memory."""

    module: str
    reads: list[int]
    writes: list[int]
    beside: dict[int, list[int]]


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


def _beside(node: Node, memory: dict[int, int]) -> dict[int, list[int]]:
    """What a layer in place overwrites -> the other blobs on that memory, such as a Reshape's."""
    return {i: [j for j, m in memory.items() if m == memory[i] and j != i]
            for i in set(node.top_ids).intersection(node.bottom_ids)}
