"""Axes of blobs, counted from the end when negative, as prototxts give them."""

from __future__ import annotations

import math
from typing import Any

from caffe.engine.errors import LayerError
from caffe.engine.layer import Layer


def canonical(layer: Layer, axis: int, rank: int, *, option: str = "axis") -> int:
    """`axis` of a blob with `rank` axes as a number in [0, rank)."""
    if not -rank <= axis < rank:
        raise LayerError(f"{layer.title}: {option} {axis} does not exist in a bottom with "
                         f"{rank} axes")
    return axis % rank


def expect_rank(layer: Layer, shape: tuple[int, ...], rank: int, what: str) -> None:
    """Raise unless `shape` has `rank` axes."""
    if len(shape) != rank:
        raise LayerError(f"{layer.title}: {what} must have {rank} axes, got shape {shape}")


def expect_same(layer: Layer, *shapes: tuple[int, ...]) -> None:
    """Raise unless all bottoms have one shape."""
    if any(shape != shapes[0] for shape in shapes):     # sizes of torch.export have no hash
        raise LayerError(f"{layer.title}: bottoms must have one shape, got "
                         f"{', '.join(map(str, shapes))}")


def expect_labelled_vectors(layer: Any, x: tuple[int, ...], label: tuple[int, ...]) -> None:
    """LayerError unless there is a label for each vector of x, its values from `layer.axis` on, and
    vectors are as long as a row of the first parameter.
    """
    items, length = math.prod(x[:layer.axis]), math.prod(x[layer.axis:])
    if math.prod(label) != items or length != layer.blobs[0].shape[1]:
        raise LayerError(f"{layer.title}: needs {items} labels and vectors of "
                         f"{layer.blobs[0].shape[1]}, got bottoms of shape {x} and {label}")
