"""Sliding windows: kernel, stride, pad and dilation in the forms that prototxts have for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from caffe.engine.errors import LayerError
from caffe.engine.layer import Layer


@dataclass(frozen=True)
class Window:
    """One number each a spatial axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]

    @classmethod
    def from_param(cls, layer: Layer, options: Any, axes: int) -> Window:
        """From a ConvolutionParameter or PoolingParameter for so many spatial axes."""
        kernel = _per_axis(layer, options, "kernel_size", ("kernel_h", "kernel_w"), axes, None)
        stride = _per_axis(layer, options, "stride", ("stride_h", "stride_w"), axes, 1)
        pad = _per_axis(layer, options, "pad", ("pad_h", "pad_w"), axes, 0)
        dilation = _dilation(layer, options, axes)
        for name, values in (("kernel_size", kernel), ("stride", stride), ("dilation", dilation)):
            if min(values, default=1) < 1:
                raise LayerError(f"{layer.title}: {name} must be at least 1, got {values}")
        return cls(kernel, stride, pad, dilation)


def _dilation(layer: Layer, options: Any, axes: int) -> tuple[int, ...]:
    """`dilation`, or `hole` and its sides, as DeepLab v1 calls it."""
    dilation = _per_axis(layer, options, "dilation", (), axes, 1)
    hole = _per_axis(layer, options, "hole", ("hole_h", "hole_w"), axes, 1)
    if max(hole, default=1) > 1 and max(dilation) > 1 and hole != dilation:
        raise LayerError(f"{layer.title}: dilation {dilation} and hole {hole} are two names of one "
                         f"thing; give one")
    return hole if max(hole, default=1) > 1 else dilation


def _per_axis(layer: Layer, options: Any, name: str, sides: tuple[str, ...], axes: int,
              default: Any) -> tuple[int, ...]:
    """`name` (one number, or one an axis) or its _h / _w forms, or the default on every axis."""
    known = options.DESCRIPTOR.fields_by_name
    given = _as_list(options, name) if name in known else []
    by_side = [side for side in sides if side in known and options.HasField(side)]
    if by_side and (given or axes != 2):
        raise LayerError(f"{layer.title}: {' and '.join(sides)} are for two spatial axes and "
                         f"exclude {name}; this bottom has {axes}")
    if by_side and default is None and len(by_side) < 2:
        raise LayerError(f"{layer.title}: {sides[0]} and {sides[1]} must be given together")
    if by_side:
        return tuple(getattr(options, side) if side in by_side else default for side in sides)
    if not given and default is None and axes:
        raise LayerError(f"{layer.title}: {name} is missing; give it, or {' and '.join(sides)}")
    if len(given) not in (0, 1, axes):
        raise LayerError(f"{layer.title}: {name} has {len(given)} values, but the bottom has "
                         f"{axes} spatial axes")
    if len(given) == axes:
        return tuple(given)
    return (given[0] if given else default,) * axes


def _as_list(options: Any, name: str) -> list[int]:
    """A field that is repeated in one message and single in another."""
    value = getattr(options, name)
    if not isinstance(value, int):
        return list(value)
    return [value] if options.HasField(name) else []
