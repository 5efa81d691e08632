"""The learnable parameters of a net: each once, with multipliers; sharing by `param.name`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from caffe.engine.blob import Blob
from caffe.engine.errors import CaffeError, LayerError
from caffe.engine.layer import Layer
from caffe.engine.net.build import Node
from caffe.proto import caffe_pb2


class Parameters:
    """Collects the parameters layer by layer.

    A parameter whose `param { name: ... }` was seen before shares data and diff of the first
    layer that used the name, the owner; the owner's multipliers count.
    """

    def __init__(self) -> None:
        self.blobs: list[Blob] = []                     # owners only
        self.lr_mult: list[float] = []
        self.decay_mult: list[float] = []
        self.owner: dict[tuple[int, int], tuple[int, int]] = {}
        self._by_name: dict[str, tuple[int, int, int]] = {}     # -> layer, index, position
        self._layers: list[Layer] = []
        self._numbers: dict[int, int] = {}              # id of a layer -> its number
        self._position: dict[tuple[int, int], int] = {}
        self._explicit: list[set[str]] = []             # multipliers some layer has stated

    def add_layer(self, node: Node) -> None:
        """Take in the parameters of the next layer.

        Raises LayerError where they do not fit the `param` entries or what they share.
        """
        layer, number = node.layer, len(self._layers)
        self._layers.append(layer)
        self._numbers.setdefault(id(layer), number)
        if len(layer.param.param) > len(layer.blobs):
            raise LayerError(f"{layer.title} has {len(layer.blobs)} parameter blob(s) but "
                             f"{len(layer.param.param)} param {{ }} entries")
        for index, blob in enumerate(layer.blobs):
            spec = layer.param.param[index] if index < len(layer.param.param) \
                else caffe_pb2.ParamSpec()
            if spec.name and spec.name in self._by_name:
                self._share(layer, number, index, spec)
            else:
                self._own(number, index, blob, spec)

    def learns(self, node: Node) -> list[bool]:
        """For each parameter of a layer, whether its lr_mult is not zero."""
        number = self._numbers[id(node.layer)]
        return [self.lr_mult[self._position[number, i]] != 0
                for i in range(len(node.layer.blobs))]

    def _own(self, number: int, index: int, blob: Blob, spec: Any) -> None:
        position = len(self.blobs)
        self.blobs.append(blob)
        self.lr_mult.append(spec.lr_mult)
        self.decay_mult.append(spec.decay_mult)
        self._explicit.append({f for f in ("lr_mult", "decay_mult") if spec.HasField(f)})
        self.owner[number, index] = (number, index)
        self._position[number, index] = position
        if spec.name:
            self._by_name[spec.name] = (number, index, position)

    def _share(self, layer: Layer, number: int, index: int, spec: Any) -> None:
        owner_layer, owner_index, position = self._by_name[spec.name]
        owner, blob = self.blobs[position], layer.blobs[index]
        permissive = spec.share_mode == caffe_pb2.ParamSpec.PERMISSIVE
        if owner.count != blob.count if permissive else owner.shape != blob.shape:
            raise LayerError(
                f'{layer.title} shares parameter "{spec.name}" with '
                f"{self._layers[owner_layer].title}, but its shape is {blob.shape} and the "
                f"owner's {owner.shape}")
        for field, values in (("lr_mult", self.lr_mult), ("decay_mult", self.decay_mult)):
            self._agree(layer, spec, field, values, position)
        blob.share_data(owner)
        blob.share_diff(owner)
        self.owner[number, index] = (owner_layer, owner_index)
        self._position[number, index] = position

    def _agree(self, layer: Layer, spec: Any, field: str, values: list[float],
               position: int) -> None:
        """A multiplier may be stated by any layer that shares; two statements must agree."""
        if not spec.HasField(field):
            return
        value = getattr(spec, field)
        if field in self._explicit[position] and values[position] != value:
            raise LayerError(f'{layer.title}: shared parameter "{spec.name}" has {field} {value} '
                             f"here and {values[position]} before; they must agree")
        self._explicit[position].add(field)
        values[position] = value


def share(layers: list[Layer], sources: Mapping[str, list[Blob]]) -> None:
    """Let layers use the parameters that `sources` has under their names: one memory.

    Raises CaffeError if a layer has not as many, or not of the same shapes.
    """
    for layer in layers:
        source = sources.get(layer.name, [])
        if len(source) != len(layer.blobs) and len(source):
            raise CaffeError(f"share_with: {layer.title} has {len(layer.blobs)} parameters, the "
                             f"other net's {len(source)}")
        for mine, theirs in zip(layer.blobs, source):
            if mine.shape != theirs.shape:
                raise CaffeError(f"share_with: {layer.title} has a parameter of shape "
                                 f"{mine.shape}, the other net's has {theirs.shape}")
            mine.share_with_net(theirs)
