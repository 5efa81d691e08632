"""The user's arrays: into the blobs of a net, over more items than its batch, into MemoryData."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import numpy as np

from caffe.engine.errors import CaffeError

Arrays = dict[str, np.ndarray]


def fill(net: Any, given: Arrays, names: list[str], what: str, attribute: str = "data") -> None:
    """Write arrays into the data or diff of all blobs `names`, the `what`s (inputs) of a call.

    Raises ValueError if one of them is missing, is none of them, or has another shape.
    """
    for name in [*given, *names]:
        if name not in names or name not in given:
            problem = "is missing" if name in names else f"is not an {what} blob of the net"
            raise ValueError(f'"{name}" {problem}; {what}s: {", ".join(names) or "none"}')
    for name, value in given.items():
        target, value = getattr(net.blobs[name], attribute), np.asarray(value)
        if value.shape[:1] != target.shape[:1] or not _broadcasts(value.shape, target.shape):
            raise ValueError(f'{what} "{name}" has the shape {target.shape}, got {value.shape}; '
                             f"net.blobs['{name}'].reshape(...) changes it")
        target[...] = value.reshape(target.shape) if value.size == target.size else value


def _broadcasts(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether numpy could assign an array of `shape` to one of `target`, or they hold as much."""
    if math.prod(shape) == math.prod(target):
        return True
    return len(shape) == len(target) and all(n in (1, m) for n, m in zip(shape, target))


def batches(net: Any, blobs: Arrays) -> Iterator[Arrays]:
    """Slices of `blobs` of the net's batch size; the last is filled up with zeros."""
    if not blobs:
        return
    first = next(iter(blobs))
    total, size = len(blobs[first]), net.blobs[first].shape[0]
    for start in range(0, total, size):
        yield {name: _filled(np.asarray(values[start:start + size]), size)
               for name, values in blobs.items()}


def _filled(values: np.ndarray, size: int) -> np.ndarray:
    missing = size - len(values)
    if not missing:
        return values
    return np.concatenate([values, np.zeros((missing, *values.shape[1:]), values.dtype)])


def forward_all(net: Any, blobs: list[str] | None, inputs: Arrays) -> Arrays:
    """Outputs, and `blobs`, for all items of `inputs`.

    Raises ValueError unless there is an array for each input.
    """
    if not inputs:
        raise ValueError(f"forward_all needs an array for each input: {', '.join(net.inputs)}")
    found = [_copies(net.forward(blobs, **batch)) for batch in batches(net, inputs)]
    return _joined(found, len(next(iter(inputs.values()))))


def forward_backward_all(net: Any, blobs: list[str] | None, diffs: list[str] | None,
                         given: Arrays) -> tuple[Arrays, Arrays]:
    """Outputs (and `blobs`) and diffs of inputs (and `diffs`) for all items.

    `given` has data for inputs and diffs for outputs.

    Raises ValueError for names that are neither.
    """
    unknown = set(given) - {*net.inputs, *net.outputs}
    if unknown:
        raise ValueError(f"neither inputs nor outputs of the net: {', '.join(sorted(unknown))}")
    chosen = [{n: given[n] for n in names if n in given} for names in (net.inputs, net.outputs)]
    all_outs, all_diffs = [], []
    for inputs, outputs in zip_longest(*(batches(net, each) for each in chosen), fillvalue={}):
        all_outs.append(_copies(net.forward(blobs, **inputs)))
        all_diffs.append(_copies(net.backward(diffs, **outputs)))
    total = len(next(iter(given.values()))) if given else None
    return _joined(all_outs, total), _joined(all_diffs, total)


def _copies(arrays: Arrays) -> Arrays:
    return {name: values.copy() for name, values in arrays.items()}


def _joined(parts: list[Arrays], total: int | None) -> Arrays:
    """One array a name, of `total` items: what came of the filling is cut off."""
    names = parts[0] if parts else {}
    return {name: np.concatenate([np.atleast_1d(part[name]) for part in parts])[:total]
            for name in names}


def set_input_arrays(net: Any, data: np.ndarray, labels: np.ndarray) -> None:
    """Let the MemoryData layer at the start of `net` read from these arrays, without a copy.

    data (N, K, H, W), labels (N, 1, 1, 1). Raises CaffeError where there is no such layer.
    """
    layer = net.layers[0] if net.layers else None
    if layer is None or not layer.takes_arrays:
        raise CaffeError("set_input_arrays: the first layer of the net must be a MemoryData layer, "
                         f"it is {layer.title if layer else 'missing'}")
    layer.set_arrays(data, labels)
