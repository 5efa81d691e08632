"""What products of an optimised net compute with: parameters in a precision, packed, kept once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from caffe.engine.blob import Blob
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
        bottoms = tuple(x if x.dtype == dtype else x.to(dtype) for x in bottoms)
        return self.layer.run(*bottoms, params=self.params, **self.fused)

    def followed_by(self, following: Layer) -> Product | None:
        """This product and that layer at once, where a kernel can."""
        if not self.params[0].is_mkldnn or following.activation is None or self.fused:
            return None
        return Product(self.layer, self.params, {"activation": following.activation})


class Weights:
    """Makes the parameters of products, one for all layers that share them.

    The blob of a weight that nobody else reads gives up its values, and gets them back from what
    was made of it when somebody reads it: exactly where that is in the net's own precision.
    """

    def __init__(self, nodes: Iterable[Node], precision: torch.dtype | None) -> None:
        self._precision = precision
        self._made: dict[tuple, list[Tensor]] = {}
        self._readers: dict[int, set[tuple]] = defaultdict(set)
        for node in nodes:
            for blob in node.layer.blobs:
                self._readers[blob.memory].add(_kind(node.layer))

    def of(self, layer: Layer) -> list[Tensor]:
        """The parameters for `layer.run`, in the shapes of its own."""
        kind = _kind(layer)
        if kind not in self._made:
            self._made[kind] = self.prepared(layer, [blob.tensor for blob in layer.blobs])
            for blob, made in zip(layer.blobs, self._made[kind]):
                if self._readers[blob.memory] == {kind} and _replaces(made, blob):
                    blob.release(lambda made=made, dtype=blob.dtype: _dense(made, dtype))
        return self._made[kind]

    def prepared(self, layer: Layer, params: list[Tensor]) -> list[Tensor]:
        """Parameters of other values than the layer's own, of its shapes."""
        lowered = [p.to(self._precision or p.dtype) for p in params]
        return layer.pack(lowered)


def _kind(layer: Layer) -> tuple:
    """Layers that say the same here can compute with the same packed parameters."""
    return (type(layer), layer.packs_like, *(blob.memory for blob in layer.blobs))


def _replaces(made: Tensor, blob: Blob) -> bool:
    """Whether there is a copy of the weight now, and nobody else has the first: no view of a user,
    no other net, which may be in training.
    """
    return not blob.touched and not blob.lent and (made.is_mkldnn or made.dtype != blob.dtype)


def _dense(weight: Tensor, dtype: torch.dtype) -> Tensor:
    plain = weight.to_dense() if weight.is_mkldnn else weight
    return plain.to(dtype).contiguous()
