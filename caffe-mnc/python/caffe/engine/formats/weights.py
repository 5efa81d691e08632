"""Weight files: .caffemodel (protobuf, the old V0 and V1 forms too) and HDF5; by layer name.

HDF5 keeps a parameter at /data/<layer>/<index> (its gradient under /diff). Loading checks the whole
file against the net before it changes anything.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import torch
from google.protobuf.message import DecodeError

from caffe.engine import log
from caffe.engine.blob import Blob
from caffe.engine.errors import WeightsError
from caffe.engine.formats import hdf5, wire
from caffe.engine.formats.atomic_file import write_file
from caffe.engine.formats.blob_proto import Stored, to_blob_proto
from caffe.engine.formats.layer_weights import from_hdf5, from_message, stored_layers
from caffe.engine.formats.seal import read_sealed, seal
from caffe.proto import caffe_pb2

PART = 1 << 20                  # values
PROTOBUF_LIMIT = 2**31 - 1      # bytes; protobuf writes longer messages but cannot read them

# --- loading -------------------------------------------------------------------------------------

def load(net: Any, path: str | os.PathLike[str], *, required: bool = False,
         partly: bool = False) -> None:
    """Copy the parameters of a file into the layers of `net` that have the same names.

    Layers of the file that the net lacks are skipped; layers that the file lacks stay as they are,
    and a line of the log counts them. Raises WeightsError, with the net unchanged, if a layer's
    parameters do not fit, if the file holds no layers, or, where something is `required`, if
    nothing in it is for this net. With `partly` layers that do not fit stay as they are, and one
    warning names them.
    """
    found = match(net, path, partly=partly)
    _report(found, required)
    found.copy()
    broken = first_not_finite(net)
    if broken:
        log.warning("%s: %s is not finite", found.path, broken)


def first_not_finite(net: Any) -> str | None:
    """The first parameter of a net that is not finite, in words."""
    for layer in net.layers:
        for i, blob in enumerate(layer.blobs):
            if not is_finite(blob.tensor):
                return f"parameter {i} of {layer.title}"
    return None


def is_finite(tensor: torch.Tensor) -> bool:
    """Whether all values are; sums tell it for nearly every array in one pass. Of any shape."""
    parts = tensor.reshape(-1).split(PART)      # torch makes a copy in float64 of what it adds up
    return all(bool(torch.isfinite(part.sum(dtype=torch.float64)) or torch.isfinite(part).all())
               for part in parts)


@dataclass(frozen=True)
class Match:
    """The parameters of a file that go into a net: the blobs with their values, checked."""

    path: str
    pairs: list[tuple[Blob, Stored]]
    names: list[str]            # layers with parameters in the file
    filled: list[str]           # layers of the net all of whose parameters are there
    missing: list[str]          # the others that have parameters
    misfits: list[str]          # of those the ones that are in the file, but do not fit

    def copy(self) -> None:
        """Blobs take the arrays that were read; one that several have a link to, the first."""
        owners: dict[int, int] = {}
        for blob, stored in self.pairs:
            values = np.ascontiguousarray(stored.read())
            value = torch.from_numpy(values).reshape(blob.shape)
            own = owners.setdefault(values.ctypes.data, blob.memory) == blob.memory
            blob.tensor = value if own else value.clone()


def match(net: Any, path: str | os.PathLike[str], *, partly: bool = False) -> Match:
    """What a file holds for `net`; WeightsError if it holds no layers or something does not fit.

    With `partly` layers that do not fit are left out.
    """
    path = os.fspath(path)
    misfits: list[str] | None = [] if partly else None
    if not h5py.is_hdf5(path):
        message = read_caffemodel(path)
        pairs = from_message(net, message, path, misfits)
        names = [name for name, blobs in stored_layers(message) if blobs]
        return _matched(net, path, pairs, names, misfits or [])
    try:
        with hdf5.reading(path) as file:
            pairs = from_hdf5(net, file, path, misfits)
            return _matched(net, path, pairs, list(file["data"]), misfits or [])
    except hdf5.Hdf5Error as error:
        raise WeightsError(str(error)) from error


def _matched(net: Any, path: str, pairs: list[tuple[Blob, Stored]], names: list[str],
             misfits: list[str]) -> Match:
    """A layer is filled where the owners of all its parameters are."""
    have = {id(blob) for blob, _ in pairs}
    filled: dict[str, bool] = {}
    for number, layer in enumerate(net.layers):
        if layer.blobs:
            owners = (net.param_id(number, i) for i in range(len(layer.blobs)))
            filled[layer.name] = all(
                id(layer.blobs[i]) in have or id(net.layers[n].blobs[k]) in have
                for i, (n, k) in enumerate(owners))
    return Match(path, pairs, names, [name for name, full in filled.items() if full],
                 [name for name, full in filled.items() if not full], misfits)


def _report(found: Match, required: bool) -> None:
    """One line unless the whole net is filled; an error or a warning if nothing is."""
    if found.misfits:
        log.warning("%s: layers of other sizes than in the net (other classes or anchors) are left "
                    "out and begin anew: %s", found.path, ", ".join(found.misfits))
    if not found.missing and found.filled:
        return
    if found.pairs:
        log.info("%s: fills %d of %d layers that have parameters; as they were: %s", found.path,
                 len(found.filled), len(found.filled) + len(found.missing),
                 _listed(found.missing))
    elif found.missing:
        text = (f"{found.path}: nothing in it is for this net: it has {_listed(found.names)}, the "
                f"net {_listed(found.missing)}")
        if required:
            raise WeightsError(text)
        log.warning("%s", text)


def _listed(names: list[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "none") + more


def read_caffemodel(path: str | os.PathLike[str]) -> Any:
    """The NetParameter in a binary weight file; WeightsError if it is none or holds no layers."""
    content = read_sealed(path)
    if len(content) > PROTOBUF_LIMIT:
        raise WeightsError(f"{path}: protobuf cannot read files above 2 GB; use HDF5")
    try:
        message = caffe_pb2.NetParameter.FromString(content)
    except DecodeError as error:
        if (without := _without_options(content, path)) is not None:
            return without
        what = ("an HDF5 file; this takes a binary .caffemodel" if h5py.is_hdf5(path) else
                f"neither a .caffemodel nor an HDF5 file, or damaged ({len(content)} bytes)")
        raise WeightsError(f"{path}: {what}") from error
    if not message.layer and not message.layers:
        what = "not a file of weights (a mean, a datum, a solver state?)" if content else "empty"
        raise WeightsError(f"{path}: holds no layers: it is {what}")
    return message


def read_about(path: str | os.PathLike[str]) -> dict[str, str]:
    """`net.about` of the net that an HDF5 file was saved from; of other files nothing."""
    if not h5py.is_hdf5(path):
        return {}
    try:
        with hdf5.reading(path) as file:
            return {name: value for name, value in file.attrs.items() if isinstance(value, str)}
    except hdf5.Hdf5Error:
        return {}


def _without_options(content: bytes, path: str | os.PathLike[str]) -> Any | None:
    """The layers of a file whose options are another fork's, with names, types and blobs; or None.

    Forks use one field number for different messages.
    """
    try:
        message = caffe_pb2.NetParameter.FromString(wire.only(content, wire.WEIGHTS))
    except (ValueError, DecodeError):
        return None
    if not any(name for name, _ in stored_layers(message)):
        return None
    log.warning("%s: the options of its layers are another fork's, and left out; names and "
                "parameters are read", path)
    return message


# --- saving --------------------------------------------------------------------------------------

def save_caffemodel(net: Any, path: str | os.PathLike[str], write_diff: bool = False) -> None:
    """Write `net` with its parameters as a binary NetParameter.

    Each layer has its copy of a shared parameter, as Caffe writes it. If that exceeds protobuf's
    2 GB, layers that own none of theirs are left out; if it still does, WeightsError.
    """
    message, left_out = to_proto(net, write_diff), _borrowers(net)
    if left_out and message.ByteSize() >= PROTOBUF_LIMIT:
        message = to_proto(net, write_diff, left_out)
        log.warning("%s: over 2 GB with a copy for each layer; left out, for other layers hold "
                    "their parameters: %s", path, ", ".join(sorted(left_out)))
    if message.ByteSize() >= PROTOBUF_LIMIT:
        raise WeightsError(f"{os.fspath(path)}: the weights exceed protobuf's 2 GB; save them as "
                           f"HDF5 (net.save_hdf5, snapshot_format: HDF5)")
    content = message.SerializeToString()
    write_file(path, seal(content), content)


def to_proto(net: Any, write_diff: bool = False, left_out: AbstractSet[str] = frozenset()) -> Any:
    """The NetParameter of `net` with the parameters of its layers, but for those `left_out`.

    As Caffe writes it: each layer with its phase, loss layers with their weight.
    """
    message = caffe_pb2.NetParameter(name=net.name)
    for described, layer in zip(net.proto.layer, net.layers):
        if layer.name in left_out:
            continue
        added = message.layer.add()
        added.CopyFrom(described)
        added.phase = int(layer.phase)
        if layer.default_loss_weight and not added.loss_weight:
            added.loss_weight.append(layer.default_loss_weight)
        del added.blobs[:]
        for blob in layer.blobs:
            added.blobs.append(to_blob_proto(blob.tensor, blob.diff_tensor if write_diff else None))
    return message


def _borrowers(net: Any) -> set[str]:
    """Names of the layers that have parameters and own none of them."""
    return {layer.name for number, layer in enumerate(net.layers) if layer.blobs and not any(
        net.param_id(number, i) == (number, i) for i in range(len(layer.blobs)))}


def save_hdf5(net: Any, path: str | os.PathLike[str], write_diff: bool = False) -> None:
    """Write the parameters (and gradients) of `net` as HDF5.

    A shared parameter is stored once and linked under every layer that uses it in its shape.

    Raises WeightsError where two layers with parameters share a name.
    """
    names = Counter(layer.name for layer in net.layers if layer.blobs)
    for name, count in names.items():
        if not name or count > 1:
            raise WeightsError(f'{os.fspath(path)}: {count} layer(s) with parameters have the name '
                               f'"{name}", but HDF5 keeps parameters by name; give each its own, '
                               f"or save as .caffemodel")
    with hdf5.writing(path) as file:
        file.attrs.update(net.about)
        _write_group(file.create_group("data"), net, lambda blob: blob.tensor)
        if write_diff:
            _write_group(file.create_group("diff"), net, lambda blob: blob.diff_tensor)


def _write_group(root: h5py.Group, net: Any, values: Callable[[Blob], torch.Tensor]) -> None:
    owners = {layer.name for layer in net.layers if layer.blobs}
    for number, layer in enumerate(net.layers):
        if not layer.name:
            continue
        group = root.require_group(hdf5.stored_as(layer.name, owners))
        for i, blob in enumerate(layer.blobs):
            owner, index = net.param_id(number, i)
            if (owner, index) == (number, i):
                group[str(i)] = values(blob).detach().cpu().numpy()
            elif net.layers[owner].blobs[index].shape == blob.shape:
                place = hdf5.stored_as(net.layers[owner].name, owners)
                group[str(i)] = root[place][str(index)]                      # a hard link
