"""Axes of blobs, counted from the end when negative, as prototxts give them."""

from __future__ import annotations

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
    if len(set(shapes)) > 1:
        raise LayerError(f"{layer.title}: bottoms must have one shape, got "
                         f"{', '.join(map(str, shapes))}")
