"""What products of an optimised net compute with: parameters in a precision, packed, kept once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from caffe.engine.layer import Layer
from caffe.engine.net.build import Node


@dataclass(frozen=True, eq=False)
class Product:
    """A layer with other parameters than its own, and with what its kernel does as it writes."""

    layer: Layer
    params: list[Tensor]
    fused: dict[str, Any] = field(default_factory=dict)

    def __call__(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        """The tops from the bottoms, of any shape that the layer takes."""
        dtype = self.params[0].dtype
        given = [x if x.dtype is dtype else x.to(dtype) for x in bottoms]
        return self.layer.run(*given, params=self.params, **self.fused)

    def followed_by(self, following: Layer) -> Product | None:
        """This product and that layer at once, where a kernel can."""
        if not self.params[0].is_mkldnn or following.activation is None or self.fused:
            return None
        return replace(self, fused={"activation": following.activation})


class Weights:
    """Makes the parameters of products, one for all layers that share them.

    First each is arranged, in its precision, and then each is packed, so that in lower precision
    what is packed is there twice in that precision only. The blob of a weight that nobody else
    reads gives up its values, and gets them back from what was made of it when somebody reads it:
    exactly where that is in the net's own precision.
    """

    def __init__(self, nodes: Iterable[Node], precision: torch.dtype | None) -> None:
        self.precision = precision
        self._arranged: dict[tuple, list[Tensor]] = {}
        self._packed: dict[tuple, list[Tensor]] = {}
        self._readers: dict[int, set[tuple]] = defaultdict(set)
        for node in nodes:
            for blob in node.layer.blobs:
                self._readers[blob.memory].add(kind_of(node.layer))

    def product(self, layer: Layer, params: list[Tensor] | None = None) -> Product:
        """The layer with parameters made for kernels: its own, or others of its shapes."""
        return Product(layer, self.of(layer) if params is None else self.prepared(layer, params))

    def arrange(self, layers: Iterable[Layer]) -> None:
        """Make the parameters of all these products ready for `product`."""
        for layer in layers:
            self._arrange(layer)

    def _arrange(self, layer: Layer) -> None:
        kind = kind_of(layer)
        if kind not in self._arranged:
            own = [blob.tensor for blob in layer.blobs]
            self._arranged[kind] = layer.arrange(own, self.precision or layer.dtype)
            self._replace(layer, own, self._arranged[kind])

    def of(self, layer: Layer) -> list[Tensor]:
        """The parameters for `layer.run`, in the shapes of its own."""
        kind = kind_of(layer)
        if kind not in self._packed:
            self._arrange(layer)
            plain = self._arranged[kind]
            self._packed[kind] = layer.pack(plain)
            self._replace(layer, plain, self._packed[kind])
            self._arranged[kind] = []
        return self._packed[kind]

    def give_up(self, layer: Layer, index: int, source: Callable[[], Tensor]) -> None:
        """Let a parameter of the layer give up its values for what `source` makes, unless others
        have them: layers of another kind, views of a user, other nets, which may be in training.
        source: gives a tensor of the parameter's shape.
        """
        blob = layer.blobs[index]
        if self._readers[blob.memory] == {kind_of(layer)} and not blob.touched and not blob.lent:
            blob.release(source)

    def prepared(self, layer: Layer, params: list[Tensor]) -> list[Tensor]:
        """Parameters of other values than the layer's own, of its shapes."""
        return layer.pack(layer.arrange(params, self.precision or layer.dtype))

    def _replace(self, layer: Layer, before: list[Tensor], after: list[Tensor]) -> None:
        """Free the values of the layer's blobs of which there is a copy now."""
        for i in range(len(before)):
            if after[i] is not before[i]:
                self.give_up(layer, i, partial(_own_form, layer, i, after[i]))


def kind_of(layer: Layer) -> tuple:
    """Layers that say the same here can compute with the same packed parameters."""
    return (type(layer), layer.packs_like, *(blob.memory for blob in layer.blobs))


def _own_form(layer: Layer, index: int, value: Tensor) -> Tensor:
    """A parameter as the layer has it, from what was made of it."""
    plain = value.to_dense() if value.is_mkldnn else value
    return layer.arranged_back(index, plain).to(layer.dtype).contiguous()
