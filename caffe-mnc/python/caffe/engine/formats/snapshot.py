"""Solver states: .solverstate (protobuf) and .solverstate.h5, as Caffe writes them.

Besides Caffe's fields a state may hold named extras; Caffe skips them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np
import torch
from google.protobuf.message import DecodeError

from caffe.engine.errors import WeightsError
from caffe.engine.formats import hdf5 as hdf5_format
from caffe.engine.formats.atomic_file import write_file
from caffe.engine.formats.blob_proto import from_blob_proto, text_of, to_blob_proto
from caffe.engine.formats.seal import read_sealed, seal
from caffe.engine.formats.weights import PROTOBUF_LIMIT
from caffe.proto import caffe_pb2


@dataclass(frozen=True)
class SolverState:
    """What a solver needs to go on.

    `history` are the buffers of the update rule. `extra` maps names to arrays: bytes (random
    generators, layers) or floats (parameters that the weight file holds in another form).
    """

    iter: int
    learned_net: str
    current_step: int
    history: list[np.ndarray]
    extra: dict[str, np.ndarray] = field(default_factory=dict)


def write_state(path: str | os.PathLike[str], state: SolverState, *, hdf5: bool) -> None:
    """Write `state`, all or nothing; sealed if it holds more than Caffe's own fields."""
    if hdf5:
        with hdf5_format.writing(path) as file:
            _fill_hdf5(file, state)
        return
    content = _message(state, path).SerializeToString()
    write_file(path, seal(content) if state.extra else b"", content)


def read_state(path: str | os.PathLike[str]) -> SolverState:
    """Read a state of either format, told by content; WeightsError if it is neither."""
    try:
        return _read_hdf5(path) if h5py.is_hdf5(path) else _read_binary(path)
    except (FileNotFoundError, WeightsError):
        raise
    except (DecodeError, KeyError, OSError, RuntimeError, TypeError, ValueError,
            AttributeError) as error:
        what = str(error).removeprefix(f"{os.fspath(path)}: ")
        raise WeightsError(f"{os.fspath(path)}: not a solver state, or damaged: {what}") from error


def _message(state: SolverState, path: str | os.PathLike[str]) -> Any:
    message = caffe_pb2.SolverState(iter=state.iter, learned_net=state.learned_net,
                                    current_step=state.current_step)
    for values in state.history:
        message.history.append(to_blob_proto(torch.as_tensor(values)))
    for name, values in state.extra.items():
        if values.dtype == np.uint8:
            message.extra.add(name=name, data=values.tobytes())
        else:
            message.extra.add(name=name, blob=to_blob_proto(torch.as_tensor(values)))
    if message.ByteSize() >= PROTOBUF_LIMIT:
        raise WeightsError(f"{os.fspath(path)}: the solver state exceeds protobuf's 2 GB; set "
                           f"snapshot_format: HDF5")
    return message


def _read_binary(path: str | os.PathLike[str]) -> SolverState:
    message = caffe_pb2.SolverState()
    content = read_sealed(path)
    message.ParseFromString(content)
    if not message.HasField("learned_net") and not message.history:
        raise ValueError("it is empty" if not content else
                         "it has no history and names no weights (a mean, a datum?)")
    label = os.fspath(path)
    return SolverState(
        message.iter, text_of(message.learned_net), message.current_step,
        [from_blob_proto(h, f"{label}: history {i}").read() for i, h in enumerate(message.history)],
        {text_of(e.name): from_blob_proto(e.blob, label).read() if e.HasField("blob")
         else np.frombuffer(e.data, np.uint8) for e in message.extra})


def _fill_hdf5(file: h5py.File, state: SolverState) -> None:
    file["iter"] = np.array([state.iter], np.int32)
    _write_string(file, "learned_net", state.learned_net)
    file["current_step"] = np.array([state.current_step], np.int32)
    history = file.create_group("history")
    for i, values in enumerate(state.history):
        history[str(i)] = values
    for name, values in state.extra.items():
        file[f"extra/{hdf5_format.encoded(name)}"] = values


def _write_string(file: h5py.File, name: str, text: str) -> None:
    """A scalar of fixed length with its end marked by a 0, which readers in C rely on."""
    content = np.array(text.encode() + b"\0", dtype=f"S{len(text.encode()) + 1}")
    kind = h5py.h5t.C_S1.copy()
    kind.set_size(content.dtype.itemsize)
    kind.set_strpad(h5py.h5t.STR_NULLTERM)
    space = h5py.h5s.create(h5py.h5s.SCALAR)
    h5py.h5d.create(file.id, name.encode(), kind, space).write(space, space, content, kind)


def _read_hdf5(path: str | os.PathLike[str]) -> SolverState:
    with hdf5_format.reading(path) as file:
        name = file["learned_net"][()]
        history = hdf5_format.children(file["history"])
        extra = hdf5_format.arrays_below(file["extra"]) if "extra" in file else {}
        return SolverState(
            _number(file["iter"], path),
            name.decode() if isinstance(name, bytes) else str(name),
            _number(file["current_step"], path) if "current_step" in file else 0,
            [_values(history[str(i)], path) for i in range(len(history))],
            {hdf5_format.decoded(key): _values(item, path) for key, item in extra.items()})


def _values(dataset: Any, path: str | os.PathLike[str]) -> np.ndarray:
    label = f"{os.fspath(path)}: {dataset.name}"
    return hdf5_format.numbers(hdf5_format.check_numbers(dataset, label))


def _number(dataset: Any, path: str | os.PathLike[str]) -> int:
    return int(_values(dataset, path).item())
