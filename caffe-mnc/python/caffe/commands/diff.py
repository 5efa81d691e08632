"""diff: two nets, or two files of weights, layer by layer."""

from __future__ import annotations

import argparse
import difflib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
from google.protobuf import text_format

from caffe.commands.registration import UsageError, entry
from caffe.engine.errors import WeightsError
from caffe.engine.formats import hdf5
from caffe.engine.formats.blob_proto import from_blob_proto
from caffe.engine.formats.layer_weights import stored_layers
from caffe.engine.formats.prototxt import read_net
from caffe.engine.formats.upgrade import upgrade
from caffe.engine.formats.weights import read_caffemodel

T = TypeVar("T")


@entry("diff")
def main(argv: Sequence[str]) -> int:
    """two nets, or two files of weights, layer by layer; status 1 if they differ"""
    args = parser().parse_args(argv)
    kinds = [is_weights(path) for path in (args.a, args.b)]
    if len(set(kinds)) > 1:
        raise UsageError(f"one of {args.a} and {args.b} is a net, the other is weights; give two "
                         f"of a kind")
    lines = list(diff_weights(args.a, args.b) if kinds[0] else diff_nets(args.a, args.b))
    print("\n".join(lines or ["no difference"]))
    return 1 if lines else 0


def is_weights(path: str) -> bool:
    """Whether a file is binary: text has no character below the tabulator."""
    return h5py.is_hdf5(path) or min(Path(path).read_bytes(), default=9) < 9


def diff_nets(a: str, b: str) -> Iterator[str]:
    """A line for a layer that one net lacks, or for each of its fields that differ."""
    first, second = (_layers(upgrade(read_net(path))) for path in (a, b))
    for key, one, other in _paired(first, second):
        if one is None or other is None:
            yield f"{'-' if other is None else '+'} {_title(key, one or other)}"
            continue
        texts = [text_format.MessageToString(layer).splitlines() for layer in (one, other)]
        changed = [line for line in difflib.ndiff(texts[0], texts[1]) if line[0] in "+-"]
        if changed:
            yield f"  {_title(key, one)}"
            yield from (f"    {line[0]} {line[1:].strip()}" for line in changed)
    kept = [[key for key in layers if key in first and key in second]
            for layers in (first, second)]
    if kept[0] != kept[1]:
        yield "  the order of the layers"


def _layers(param: Any) -> dict[tuple[str, int], Any]:
    """(name, how many before it have that name) -> the layer, without values"""
    seen: Counter[str] = Counter()
    found = {}
    for layer in param.layer:
        layer.ClearField("blobs")
        found[layer.name, seen[layer.name]] = layer
        seen[layer.name] += 1
    return found


def _title(key: tuple[str, int], layer: Any) -> str:
    return f'layer "{key[0]}"{f" no. {key[1] + 1}" if key[1] else ""} ({layer.type})'


def diff_weights(a: str, b: str) -> Iterator[str]:
    """A line for each layer that one file lacks, and for each parameter that differs."""
    for name, one, other in _paired(read_parameters(a), read_parameters(b)):
        if one is None or other is None:
            shapes = ", ".join(str(array.shape) for array in one or other or [])
            yield f'{"-" if other is None else "+"} layer "{name}": {shapes}'
        elif len(one) != len(other):
            yield f'  layer "{name}": {len(one)} parameters, {len(other)}'
        else:
            for i, (left, right) in enumerate(zip(one, other)):
                if said := _difference(left, right):
                    yield f'  layer "{name}" parameter {i}: {said}'


def read_parameters(path: str) -> dict[str, list[np.ndarray]]:
    """Layer -> its parameters in a weight file; WeightsError if it cannot be read."""
    if not h5py.is_hdf5(path):
        return {name: [from_blob_proto(blob, f"{path}: {name}").read() for blob in blobs]
                for name, blobs in stored_layers(read_caffemodel(path)) if blobs}
    found: dict[str, dict[int, np.ndarray]] = {}
    try:
        with hdf5.reading(path) as file:
            data = hdf5.find(file, "data")
            if not isinstance(data, h5py.Group):
                raise WeightsError(f"{path}: an HDF5 file, but not one of weights: it has no "
                                   f"group /data")
            for place, dataset in hdf5.arrays_below(data).items():
                layer, _, index = place.rpartition("/")
                if layer and index.isdecimal():
                    checked = hdf5.check_numbers(dataset, f"{path}: /data/{place}")
                    found.setdefault(hdf5.decoded(layer), {})[int(index)] = hdf5.numbers(checked)
    except hdf5.Hdf5Error as error:
        raise WeightsError(str(error)) from error
    return {name: [arrays[i] for i in sorted(arrays)] for name, arrays in found.items()}


def _difference(a: np.ndarray, b: np.ndarray) -> str:
    if a.size != b.size:
        return f"shape {a.shape}, {b.shape}"
    a, b = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    if np.array_equal(a, b, equal_nan=True):
        return ""
    with np.errstate(invalid="ignore"):
        apart = np.abs(a - b)
    share = np.linalg.norm(apart) / max(np.linalg.norm(a), np.finfo(float).tiny)
    return (f"{np.count_nonzero(apart)} of {a.size} values differ, by at most {apart.max():.3g}, "
            f"{share:.3g} of the norm")


def _paired(first: dict[Any, T], second: dict[Any, T]) -> Iterator[tuple[Any, T | None, T | None]]:
    """(key, of the first, of the second), None where one lacks it; in the first's order."""
    for key in dict.fromkeys([*first, *second]):
        yield key, first.get(key), second.get(key)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="diff", description="Compare two prototxts, or two files of weights (.caffemodel or "
        "HDF5), layer by layer. The status is 0 where there is no difference.")
    p.add_argument("a", help="prototxt, or weights")
    p.add_argument("b", help="another of that kind")
    return p
