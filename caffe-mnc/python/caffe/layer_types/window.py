"""Sliding windows: kernel, stride, pad and dilation in the forms that prototxts have for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from caffe.engine.description import CoordinateMap, UndefinedMapException
from caffe.engine.errors import LayerError
from caffe.engine.layer import Layer

ONE_SIDED = {f"{what}_{axis}" for what in ("kernel", "stride", "pad") for axis in "hw"}


@dataclass(frozen=True)
class Window:
    """One number each a spatial axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]

    @property
    def lattice(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """(stride, pad, dilation), as operators take them."""
        return self.stride, self.pad, self.dilation

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

    def places(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """How many windows lie in axes of these sizes, rounded down; 0 or less: it does not fit."""
        return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d
                     in zip(size, self.kernel, self.stride, self.pad, self.dilation))

    def spread(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """How large axes are that hold so many windows; the inverse of `places`."""
        return tuple(s * (n - 1) + d * (k - 1) + 1 - 2 * p for n, k, s, p, d
                     in zip(size, self.kernel, self.stride, self.pad, self.dilation))


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


# --- from options as NetSpec has them -------------------------------------------------------------

def window_options(type_name: str,
                   options: dict[str, Any]) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """(axis, stride, extent of the dilated kernel, pad) of a layer with a sliding window.

    Raises UndefinedMapException without kernel_size, AssertionError for kernel_h and their like.
    """
    options = options.get("convolution_param") or options.get("pooling_param") or options
    if ONE_SIDED & set(options):
        raise AssertionError(f"{type_name}: kernel_h, kernel_w and their like have no "
                             f"coordinate map; give kernel_size, stride and pad")
    if "kernel_size" not in options:
        raise UndefinedMapException(f"{type_name} has no kernel_size")
    kernel, stride, pad, dilation = (
        np.array(options.get(name, default), ndmin=1)
        for name, default in (("kernel_size", 1), ("stride", 1), ("pad", 0), ("dilation", 1)))
    return options.get("axis", 1), stride, (kernel - 1) * dilation + 1, pad


def places_in_windows(type_name: str, options: dict[str, Any]) -> CoordinateMap:
    """Where a pixel lies among the windows that are centred on pixels."""
    axis, stride, extent, pad = window_options(type_name, options)
    return axis, 1 / stride, (pad - (extent - 1) / 2) / stride
