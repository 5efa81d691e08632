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

    The blob of a weight that nobody else reads gives up its values, and gets them back from what
    was made of it when somebody reads it: exactly where that is in the net's own precision.
    """

    def __init__(self, nodes: Iterable[Node], precision: torch.dtype | None) -> None:
        self.precision = precision
        self._made: dict[tuple, list[Tensor]] = {}
        self._readers: dict[int, set[tuple]] = defaultdict(set)
        for node in nodes:
            for blob in node.layer.blobs:
                self._readers[blob.memory].add(kind_of(node.layer))

    def product(self, layer: Layer, params: list[Tensor] | None = None) -> Product:
        """The layer with parameters made for kernels: its own, or others of its shapes."""
        return Product(layer, self.of(layer) if params is None else self.prepared(layer, params))

    def of(self, layer: Layer) -> list[Tensor]:
        """The parameters for `layer.run`, in the shapes of its own."""
        kind = kind_of(layer)
        if kind not in self._made:
            self._made[kind] = self.prepared(layer, [blob.tensor for blob in layer.blobs])
            for i, (blob, made) in enumerate(zip(layer.blobs, self._made[kind])):
                if made.is_mkldnn or made.dtype != blob.dtype:
                    self.give_up(layer, i, partial(_dense, made, blob.dtype))
        return self._made[kind]

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
        lowered = [p.to(self.precision or p.dtype) for p in params]
        return layer.pack(lowered)


def kind_of(layer: Layer) -> tuple:
    """Layers that say the same here can compute with the same packed parameters."""
    return (type(layer), layer.packs_like, *(blob.memory for blob in layer.blobs))


def _dense(weight: Tensor, dtype: torch.dtype) -> Tensor:
    plain = weight.to_dense() if weight.is_mkldnn else weight
    return plain.to(dtype).contiguous()
