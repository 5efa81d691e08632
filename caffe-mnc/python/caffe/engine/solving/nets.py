"""A solver file, and the nets it asks for: one to train, any number to test."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from caffe.engine import log
from caffe.engine.errors import PrototxtError, in_file
from caffe.engine.formats.prototxt import label_of, read_net, read_solver
from caffe.engine.formats.upgrade import upgrade
from caffe.engine.layer import TEST, TRAIN, Phase
from caffe.engine.net.net import Net
from caffe.proto import caffe_pb2

_TRAIN_FIELDS = ("train_net_param", "train_net", "net_param", "net")


def solver_parameter(source: str | os.PathLike[str] | Any) -> Any:
    """The SolverParameter of a file, or a copy of the one given, with its snapshot prefix complete.

    Without a prefix snapshots are named after the solver file; in a folder they get its name.
    """
    if isinstance(source, caffe_pb2.SolverParameter):
        param = caffe_pb2.SolverParameter()
        param.CopyFrom(source)
        return param
    param = read_solver(source)
    path = Path(source)
    if not param.HasField("snapshot_prefix"):
        param.snapshot_prefix = str(path.with_suffix(""))
    elif os.path.isdir(param.snapshot_prefix):
        param.snapshot_prefix = str(Path(param.snapshot_prefix) / path.stem)
    return param


def make_train_net(param: Any, folder: Path | None) -> Net:
    """The net to train, with the files of `weights` loaded.

    folder: that of the solver file, where files are looked for, too (named_file).

    Raises PrototxtError where the solver names none or several.
    """
    given = [field for field in _TRAIN_FIELDS if param.HasField(field)]
    if len(given) != 1:
        raise PrototxtError(f"a solver needs exactly one of {', '.join(_TRAIN_FIELDS)}; "
                            f"got {', '.join(given) or 'none'}")
    source = getattr(param, given[0])
    log.info("Creating training net from %s%s.", given[0],
             f" file: {source}" if isinstance(source, str) else "")
    net = _build(source, folder, TRAIN, param.train_state)
    for names in param.weights:
        for name in names.split(","):
            log.info("Finetuning from %s", name.strip())
            net.copy_from(str(named_file(name.strip(), folder)), required=True)
    return net


def make_test_nets(param: Any, folder: Path | None) -> list[Net]:
    """Those of test_net_param, of test_net, then net_param or net as far as test_iter goes."""
    sources: list[Any] = [*param.test_net_param, *param.test_net]
    general = [getattr(param, f) for f in ("net_param", "net") if param.HasField(f)]
    if general:
        sources += general * max(0, len(param.test_iter) - len(sources))
    _check_tests(param, len(sources))
    nets = []
    for i, source in enumerate(sources):
        log.info("Creating test net (#%d)%s", i,
                 f" from file: {source}" if isinstance(source, str) else ".")
        nets.append(_build(source, folder, TEST, param.test_state[i] if param.test_state else None))
        nets[-1].debug_info = param.debug_info
    return nets


def _check_tests(param: Any, count: int) -> None:
    if len(param.test_iter) != count:
        raise PrototxtError(f"{count} test nets but {len(param.test_iter)} test_iter; "
                            "give each test net its number of batches")
    if len(param.test_state) not in (0, count):
        raise PrototxtError(f"{count} test nets but {len(param.test_state)} test_state; "
                            "give none, or one for each")
    if count and param.test_interval <= 0:
        raise PrototxtError("test nets need a positive test_interval")


def _build(source: str | Any, folder: Path | None, phase: Phase, state: Any | None) -> Net:
    param = caffe_pb2.NetParameter()
    param.CopyFrom(read_net(named_file(source, folder)) if isinstance(source, str)
                   else upgrade(source))
    merged = caffe_pb2.NetState(phase=int(phase))
    merged.MergeFrom(param.state)
    if state is not None:
        merged.MergeFrom(state)
    param.state.CopyFrom(merged)
    with in_file(label_of(source)) if isinstance(source, str) else nullcontext():
        return Net.from_proto(param, merged.phase)


def named_file(name: str, folder: Path | None) -> Path:
    """A file that a solver names: from the working directory, as in Caffe, else below `folder`,
    that of the solver file, else in it: the two were moved together. `name` if it is nowhere.
    """
    path = Path(name)
    places = [path] if folder is None else [path, folder / path, folder / path.name]
    return next((place for place in places if place.is_file()), path)
