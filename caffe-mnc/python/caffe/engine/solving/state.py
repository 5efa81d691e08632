"""Snapshots of a solver: a pair of files, weights and state, that belong together.

The state names its weights by size and checksum, and holds what resuming to the last bit needs:
the buffers of the update rule, random generators, the places of data layers in training and test
nets, and what layers of users keep (`snapshot_state`, `restore_state`). Everything is checked
before anything is changed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from caffe.engine import log, random
from caffe.engine.errors import WeightsError
from caffe.engine.formats import weights
from caffe.engine.formats.seal import fingerprint
from caffe.engine.formats.snapshot import SolverState, read_state, write_state

if TYPE_CHECKING:
    from caffe.engine.net.net import Net
    from caffe.engine.solving.solver import Solver

PAIR = "pair"       # the extra that says what the state belongs to
_ITERATION = re.compile(r"_iter_(\d+)\.caffemodel(\.h5)?$")


# --- writing -------------------------------------------------------------------------------------

def snapshot(solver: Solver) -> str:
    """Write PREFIX_iter_N.caffemodel and .solverstate (with .h5 behind, if so configured).

    Returns the name of the first. Raises OSError, naming the file, if it cannot be written;
    what was there before stays.
    """
    hdf5 = solver.param.snapshot_format == solver.param.HDF5
    model, state = (f"{solver.param.snapshot_prefix}_iter_{solver.iter}{kind}{'.h5' * hdf5}"
                    for kind in (".caffemodel", ".solverstate"))
    Path(model).parent.mkdir(parents=True, exist_ok=True)
    log.info(log.SNAPSHOT_HDF5 if hdf5 else log.SNAPSHOT_BINARY, model)
    save = weights.save_hdf5 if hdf5 else weights.save_caffemodel
    with solver.export(solver.net) as altered:
        save(solver.net, model, solver.param.snapshot_diff)
    log.info(log.STATE_HDF5 if hdf5 else log.STATE_BINARY, state)
    history = [h.cpu().numpy() for h in solver.history]
    write_state(state, SolverState(solver.iter, model, solver.current_step, history,
                                   _extra(solver, altered or (), model)), hdf5=hdf5)
    return model


def _extra(solver: Solver, altered: Iterable[str], model: str) -> dict[str, np.ndarray]:
    """What Caffe's own fields have no place for, by name."""
    about = {"solver": type(solver).__name__, "weights": fingerprint(model),
             "parameters": _parameters(solver.net), "workers": solver.workers.count}
    extra = {PAIR: _bytes(json.dumps(about).encode())}
    for name in altered:
        for i, blob in enumerate(solver.net.params[name]):
            extra[f"param/{i}/{name}"] = blob.tensor.cpu().numpy()
    return extra | own_extra(solver) | solver.workers.collected()


def own_extra(solver: Solver) -> dict[str, np.ndarray]:
    """Random numbers, and what layers and companions keep: of this worker. (bytes,) each.

    What is the same at all workers, of companions, is the first one's.
    """
    extra = {f"random/{device}": state for device, state in random.get_state().items()}
    for beginning, net in _nets(solver):
        for layer in net.layers:
            kept = _kept_of(layer)
            if kept is not None:
                extra[f"{beginning}{layer.name}"] = _bytes(kept)
    return extra | {f"kept/{name}": _bytes(each.snapshot_state())
                    for name, each in solver.companions.items()
                    if not (solver.workers.rank and getattr(each, "shared_place", False))}


def _parameters(net: Net) -> list[list[Any]]:
    """[layer, index, shape] of each learnable parameter, under its owner's name."""
    return [[layer.name, i, list(blob.shape)] for number, layer in enumerate(net.layers)
            for i, blob in enumerate(layer.blobs) if net.param_id(number, i) == (number, i)]


def _nets(solver: Solver) -> Iterator[tuple[str, Net]]:
    """Each net, with how the names of its layers' states begin."""
    yield "layer/", solver.net
    for index, net in enumerate(solver.test_nets):
        yield f"test/{index}/", net


def shared_places(solver: Solver) -> dict[str, np.ndarray]:
    """What layers keep whose place in the data is that of all workers. (bytes,) each."""
    kept = {f"{beginning}{layer.name}": _kept_of(layer) for beginning, net in _nets(solver)
            for layer in net.layers if layer.shared_place}
    kept |= {f"kept/{name}": each.snapshot_state() for name, each in solver.companions.items()
             if getattr(each, "shared_place", False)}
    return {name: _bytes(each) for name, each in kept.items() if each is not None}


def _kept_of(layer: Any) -> bytes | None:
    """What the layer keeps; a user's layer that fails at it does not cost the snapshot."""
    if not hasattr(layer, "snapshot_state"):
        return None
    try:
        return bytes(memoryview(layer.snapshot_state()))
    except Exception as error:
        log.error("%s: snapshot_state failed, resuming will begin this layer anew: %s: %s",
                  layer.title, type(error).__name__, error)
        return None


def _bytes(content: bytes) -> np.ndarray:
    return np.frombuffer(content, np.uint8)


# --- checking ------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Pair:
    """A state and its weights, checked against a solver and ready to go on from."""

    path: str
    state: SolverState
    weights: weights.Match | None
    workers: int = 1        # that trained together


def check(solver: Solver, path: str | os.PathLike[str]) -> Pair:
    """The pair of a state file; WeightsError if it is no whole pair of this solver's net."""
    label = os.fspath(path)
    _check_kind(label)
    state = read_state(path)
    about = _about(state, label)
    _check_history(solver, state.history, label)
    _check_parameters(solver, state.extra, label)
    if about and about["solver"] != type(solver).__name__:
        raise WeightsError(f"{label}: written by {about['solver']}, this solver is "
                           f"{type(solver).__name__}")
    if about and about["parameters"] != _parameters(solver.net):
        raise WeightsError(f"{label}: of another net: {_first_difference(solver.net, about)}")
    model = _find_model(state, Path(path))
    if model is None:
        log.warning("%s: names no weights; the net keeps those it has", label)
        return Pair(label, state, None, about["workers"] if about else 1)
    if about and fingerprint(model) != about["weights"]:
        raise WeightsError(f'{label}: the weights "{model}" are not those it was written with '
                           f"(another training's, cut or changed)")
    found = weights.match(solver.net, model)
    kept = {key.split("/", 2)[2] for key in state.extra if key.startswith("param/")}
    missing = [name for name in found.missing if name not in kept]
    if missing:
        raise WeightsError(f'{label}: its weights "{model}" have nothing for '
                           f"{', '.join(missing[:8])}")
    return Pair(label, state, found, about["workers"] if about else 1)


def _check_kind(path: str) -> None:
    """WeightsError if the name says that the file holds weights alone."""
    name = re.search(r"(.*)\.caffemodel(\.h5)?$", path)
    if not name or not os.path.isfile(path):
        return
    state = f"{name[1]}.solverstate{name[2] or ''}"
    beside = f"; the solver state beside them is {state}" if os.path.exists(state) else ""
    raise WeightsError(f"{path}: these are weights; a training goes on from a .solverstate "
                       f"(--snapshot, --resume){beside}. To begin with them: --weights, copy_from")


def _about(state: SolverState, path: str) -> dict[str, Any] | None:
    """What the state says of itself; None for files of Caffe and of our first versions."""
    if PAIR not in state.extra:
        return None
    try:
        about = json.loads(state.extra[PAIR].tobytes())
        return {"workers": int(about.get("workers", 1)),
                **{key: about[key] for key in ("solver", "weights", "parameters")}}
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path}: damaged: what it says of its weights is unreadable") from error


def _check_history(solver: Solver, history: list[np.ndarray], path: str) -> None:
    want, got = ([tuple(h.shape) for h in each] for each in (solver.history, history))
    if len(want) != len(got):
        raise WeightsError(f"{path}: {len(got)} history blobs, this solver "
                           f"({type(solver).__name__}) has {len(want)}")
    for i, (mine, saved) in enumerate(zip(want, got)):
        if mine != saved and (1,) * (4 - len(mine)) + mine != saved:
            raise WeightsError(f"{path}: history blob {i} has the shape {saved}, this "
                               f"solver's has {mine}")


def _check_parameters(solver: Solver, extra: dict[str, np.ndarray], path: str) -> None:
    for key, value in extra.items():
        kind, index, name = [*key.split("/", 2), "", ""][:3]
        if kind != "param":
            continue
        mine = solver.net.params.get(name, [])
        fits = index.isdigit() and int(index) < len(mine) and \
            value.dtype.kind == "f" and value.shape == mine[int(index)].shape
        if not fits:
            raise WeightsError(f'{path}: parameter {index} of layer "{name}", of shape '
                               f"{value.shape}, does not fit the net")


def _first_difference(net: Net, about: dict[str, Any]) -> str:
    mine = _parameters(net)
    for here, there in zip([*mine, None], [*about["parameters"], None]):
        if here != there:
            return f"its parameter is {there}, this net's {here} ([layer, index, shape])"
    return "its parameters differ"


def _find_model(state: SolverState, path: Path) -> str | None:
    """The weight file of a state: beside it, or where it was written."""
    if not state.learned_net:
        return None
    number = _ITERATION.search(state.learned_net)
    if number and int(number[1]) != state.iter:
        raise WeightsError(f'{path}: the state of iteration {state.iter} names the weights '
                           f'"{state.learned_net}" of another')
    for candidate in (path.parent / Path(state.learned_net).name, Path(state.learned_net)):
        if os.path.exists(candidate):           # False, too, where no file can be called so
            return str(candidate)
    raise WeightsError(f'{path}: its weights "{state.learned_net}" are missing, not beside it '
                       f"either")


# --- going on ------------------------------------------------------------------------------------

def restore(solver: Solver, pair: Pair) -> None:
    """Go on from a pair; WeightsError if a layer cannot take up what it kept."""
    extra = pair.state.extra
    with _random_state_of(extra, pair.path):
        if pair.weights:
            pair.weights.copy()
    solver.iter, solver.current_step = pair.state.iter, pair.state.current_step
    solver.resumed_from = pair.path
    for mine, saved in zip(solver.history, pair.state.history):
        mine.copy_(torch.as_tensor(saved).reshape(mine.shape))
    for key, value in extra.items():
        if key.startswith("param/"):
            _, index, name = key.split("/", 2)
            solver.net.params[name][int(index)].tensor.copy_(torch.as_tensor(value))
    _take_up(solver, extra, pair.path)


def take_up(solver: Solver, extra: dict[str, np.ndarray], path: str) -> None:
    """Go on with these random numbers and what layers and companions have kept.

    Each of the shape (bytes,). Raises WeightsError where one of them cannot.
    """
    with _random_state_of(extra, path):
        _take_up(solver, extra, path)


def _take_up(solver: Solver, extra: dict[str, np.ndarray], path: str) -> None:
    for beginning, net in _nets(solver):
        for layer in net.layers:
            kept = extra.get(f"{beginning}{layer.name}")
            if kept is not None and hasattr(layer, "restore_state"):
                _give_back(layer, kept.tobytes(), path)
    for name, each in solver.companions.items():
        if f"kept/{name}" in extra:
            each.restore_state(extra[f"kept/{name}"].tobytes())


def _give_back(layer: Any, kept: bytes, path: str) -> None:
    try:
        layer.restore_state(kept)
    except Exception as error:
        raise WeightsError(f"{path}: {layer.title} cannot go on from it: "
                           f"{type(error).__name__}: {error}") from error


@contextmanager
def _random_state_of(extra: dict[str, np.ndarray], path: str) -> Iterator[None]:
    """The random states saved in `extra` are set, and stay if the block ends without an error."""
    before = random.get_state()
    try:
        try:
            random.set_state({key.removeprefix("random/"): value for key, value in extra.items()
                              if key.startswith("random/")})
        except (RuntimeError, ValueError, TypeError, KeyError, OverflowError) as error:
            raise WeightsError(f"{path}: the saved random state is damaged: {error}") from error
        yield
    except BaseException:
        random.set_state(before)
        raise
