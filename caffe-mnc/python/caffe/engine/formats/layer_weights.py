"""The parameters of a weight file that go into the layers of a net, by name.

Read apart from weights.py, which says what becomes of them. Everything is checked against the net.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import h5py
import numpy as np

from caffe.engine import log
from caffe.engine.blob import Blob
from caffe.engine.errors import WeightsError
from caffe.engine.formats import hdf5
from caffe.engine.formats.blob_proto import Stored, from_blob_proto, text_of


class Misfit(WeightsError):
    """A layer's parameters of another number or shape than the net's."""


def _fitting(take: Callable[[], list[tuple[Blob, Stored]]], name: str,
             misfits: list[str] | None) -> list[tuple[Blob, Stored]]:
    """The pairs of a layer; none, and its name among the misfits, if it does not fit."""
    try:
        return take()
    except Misfit:
        if misfits is None:
            raise
        misfits.append(name)
        return []


def from_message(net: Any, message: Any, path: str,
                 misfits: list[str] | None) -> list[tuple[Blob, Stored]]:
    """What a NetParameter holds for `net`; layers that do not fit are added to misfits.

    Raises Misfit for one where that is None.
    """
    layers = {layer.name: layer for layer in reversed(net.layers)}       # the first of a name
    pairs: list[tuple[Blob, Stored]] = []
    for name, protos in stored_layers(message):
        if name not in layers:
            _say_ignored(name, protos)
            continue
        pairs += _fitting(partial(_from_protos, layers[name], protos, path), name, misfits)
    return pairs


def _from_protos(layer: Any, protos: Any, path: str) -> list[tuple[Blob, Stored]]:
    if len(protos) != len(layer.blobs):
        raise _count_error(path, layer, len(protos))
    return [_checked(path, layer, index, blob, from_blob_proto(
        proto, f'{path}: layer "{layer.name}" blob {index}'))
        for index, (blob, proto) in enumerate(zip(layer.blobs, protos))]


def stored_layers(message: Any) -> Iterator[tuple[str, Any]]:
    """(name, blobs) of each layer, in files of any age."""
    for layer in message.layers:
        old = layer.layer if layer.HasField("layer") else layer      # V0 nests the layer
        yield text_of(old.name), old.blobs
    for layer in message.layer:
        yield text_of(layer.name), layer.blobs


def from_hdf5(net: Any, file: h5py.File, path: str,
              misfits: list[str] | None) -> list[tuple[Blob, Stored]]:
    """What an HDF5 file holds for `net`; the rest as `from_message`.

    Raises WeightsError where it is not a file of weights.
    """
    data = hdf5.find(file, "data")
    if not isinstance(data, h5py.Group):
        raise WeightsError(f"{path}: an HDF5 file, but not one of weights: it has no group /data")
    if not len(data):
        raise WeightsError(f"{path}: holds no layers: its group /data is empty")
    pairs: list[tuple[Blob, Stored]] = []
    seen = set()
    read: dict[int, Any] = {}
    for number, layer in enumerate(net.layers):
        group = None if layer.name in seen else _group_of(data, layer.name)
        if group is None:
            continue
        seen.add(layer.name)
        if not isinstance(group, h5py.Group):
            raise WeightsError(f'{path}: /data/{layer.name} is no group of parameters')
        pairs += _fitting(partial(_from_group, net, number, group, path, read), layer.name, misfits)
    for key in data:
        name = hdf5.decoded(key)
        if not {name, key} & set(net.layer_dict) and not any(y.startswith(f"{key}/") for y in seen):
            _say_ignored(name, hdf5.find(data, key) or ())
    return pairs


def _from_group(net: Any, number: int, group: h5py.Group, path: str,
                read: dict[int, Any]) -> list[tuple[Blob, Stored]]:
    """The parameters of layer `number` of the net. read: what was read before, by its place."""
    layer = net.layers[number]
    stored = {int(key): item for key, item in hdf5.children(group).items()
              if key.isdecimal() and isinstance(item, h5py.Dataset)}
    missing = [i for i in range(len(layer.blobs)) if i not in stored
               and net.param_id(number, i) == (number, i)]
    if missing or any(i >= len(layer.blobs) for i in stored):
        raise _count_error(path, layer, len(stored))
    return [_from_dataset(path, layer, i, item, read) for i, item in sorted(stored.items())]


def _group_of(data: h5py.Group, name: str) -> Any:
    """The group of a layer, as its name is or encoded; None if there is none."""
    if not name:
        return None
    found = hdf5.find(data, hdf5.encoded(name))
    plain = hdf5.stored_as(name) == name
    return hdf5.find(data, name) if found is None and plain else found


def _say_ignored(name: str, parameters: Any) -> None:
    """Caffe says it of layers that hold no parameters, too: a line each for data and losses."""
    if len(parameters):
        log.info("Ignoring source layer %s", name)


def _from_dataset(path: str, layer: Any, index: int, dataset: Any,
                  read: dict[int, Any]) -> tuple[Blob, Stored]:
    """The values of a data set of numbers, whatever their type and byte order; read here, for a
    damaged block shows only then, and once, though layers that share them each have a link."""
    hdf5.check_numbers(dataset, f"{path}: {dataset.name}")
    blob = layer.blobs[index]
    _checked(path, layer, index, blob, Stored(dataset.shape, lambda: np.empty(0)))
    place = h5py.h5o.get_info(dataset.id).addr
    if place not in read:
        read[place] = hdf5.numbers(dataset)
    values = read[place]
    return blob, Stored(dataset.shape, lambda: values)


def _count_error(path: str, layer: Any, count: int) -> Misfit:
    return Misfit(f'{path}: layer "{layer.name}" ({layer.type}) has {count} parameter '
                  f"blob(s) in the file, {len(layer.blobs)} in the net")


def _checked(path: str, layer: Any, index: int, blob: Blob, stored: Stored) -> tuple[Blob, Stored]:
    same = stored.fits(blob.shape) or (layer.any_ones and _lengths(stored.shape) == _lengths(
        blob.shape))
    if not same:
        raise Misfit(
            f'{path}: layer "{layer.name}" ({layer.type}) blob {index} has the shape '
            f"{stored.shape} in the file, {blob.shape} in the net; rename the layer in the net to "
            f"leave its weights out")
    return blob, stored


def _lengths(shape: tuple[int, ...]) -> list[int]:
    """The axes of a shape that are longer than 1."""
    return [n for n in shape if n != 1]
