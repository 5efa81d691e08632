"""Where a pixel of one top lies in another, and the Crop that aligns them.

A map (axis, scale, shift) sends a coordinate i of the axes behind `axis` to scale * i + shift;
axis None is a layer that leaves coordinates alone. Scale and shift are arrays, one value for all
spatial axes or one each.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from caffe.net_spec import Function, Top
from caffe.net_spec import layers as L

CoordMap = tuple[Any, Any, Any]

PASS_THROUGH_LAYERS = [
    "AbsVal", "BatchNorm", "Bias", "BNLL", "Clip", "Dropout", "Eltwise", "ELU", "Exp", "LRN", "Log",
    "MVN", "PReLU", "Power", "ReLU", "Scale", "Sigmoid", "Split", "Swish", "TanH", "Threshold",
]
_IDENTITY: CoordMap = (None, 1, 0)
_ONE_SIDED = {f"{what}_{axis}" for what in ("kernel", "stride", "pad") for axis in "hw"}


class UndefinedMapException(Exception):
    """A layer whose tops have no linear relation to the coordinates of its bottoms."""


class AxisMismatchException(Exception):
    """Two maps that begin at different axes cannot be composed."""


def conv_params(fn: Function) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """(axis, stride, extent of the dilated kernel, pad) of a layer with a sliding window."""
    params = fn.params.get("convolution_param") or fn.params.get("pooling_param") or fn.params
    if _ONE_SIDED & set(params):
        raise AssertionError(f"{fn.type_name}: kernel_h, kernel_w and their like have no "
                             f"coordinate map; give kernel_size, stride and pad")
    if "kernel_size" not in params:
        raise UndefinedMapException(f"{fn.type_name} has no kernel_size")
    kernel, stride, pad, dilation = (
        np.array(params.get(name, default), ndmin=1)
        for name, default in (("kernel_size", 1), ("stride", 1), ("pad", 0), ("dilation", 1)))
    return params.get("axis", 1), stride, (kernel - 1) * dilation + 1, pad


def crop_params(fn: Function) -> tuple[int, np.ndarray]:
    """(axis, offset) of a Crop layer."""
    params = fn.params.get("crop_param") or fn.params
    return params.get("axis", 2), np.array(params.get("offset", 0), ndmin=1)


def coord_map(fn: Function) -> CoordMap:
    """The map from coordinates of the layer's bottom to those of its top, as (axis, a, b).

    Raises UndefinedMapException for layers that have none.
    """
    if fn.type_name in ("Convolution", "Pooling", "Im2col"):
        axis, stride, extent, pad = conv_params(fn)
        return axis, 1 / stride, (pad - (extent - 1) / 2) / stride
    if fn.type_name == "Deconvolution":
        axis, stride, extent, pad = conv_params(fn)
        return axis, stride, (extent - 1) / 2 - pad
    if fn.type_name in PASS_THROUGH_LAYERS:
        return _IDENTITY
    if fn.type_name == "Crop":
        axis, offset = crop_params(fn)
        return axis - 1, 1, -offset        # axis counts from the last one that is not spatial
    raise UndefinedMapException(f"{fn.type_name} has no coordinate map")


def compose(base_map: CoordMap, next_map: CoordMap) -> CoordMap:
    """base after next: a1 (a2 i + b2) + b1."""
    (axis1, a1, b1), (axis2, a2, b2) = base_map, next_map
    if None not in (axis1, axis2) and axis1 != axis2:
        raise AxisMismatchException(f"maps on axis {axis1} and axis {axis2}")
    return axis2 if axis1 is None else axis1, a1 * a2, a1 * b2 + b1


def inverse(coord_map: CoordMap) -> CoordMap:
    """The map that goes back."""
    axis, a, b = coord_map
    return axis, 1 / a, -b / a


def coord_map_from_to(top_from: Top, top_to: Top) -> CoordMap:
    """The map from coordinates of `top_from` to those of `top_to`, through an ancestor of both.

    Raises RuntimeError if no chain of spatial layers connects them.
    """
    from_maps = dict(_maps_to_ancestors(top_from))
    for ancestor, to_map in _maps_to_ancestors(top_to):
        if ancestor in from_maps:
            return compose(to_map, inverse(from_maps[ancestor]))
    raise RuntimeError("there is no coordinate map between the tops: no spatial layers connect "
                       "them")


def _maps_to_ancestors(top: Top):
    """(ancestor, map from it to `top`), `top` itself first."""
    maps, waiting = {top: _IDENTITY}, [top]
    while waiting:
        each = waiting.pop()
        yield each, maps[each]
        # what a Crop is cropped to gives it a size, not its content
        bottoms = each.fn.inputs[:1] if each.fn.type_name == "Crop" else each.fn.inputs
        try:
            for bottom in bottoms:
                maps[bottom] = compose(maps[each], coord_map(each.fn))
                waiting.append(bottom)
        except UndefinedMapException:
            continue


def crop(top_from: Top, top_to: Top) -> Top:
    """A Crop of `top_from` to the place and size of `top_to`.

    They must have one scale, and `top_from` must reach beyond `top_to` by whole pixels.
    """
    axis, a, b = coord_map_from_to(top_from, top_to)
    a, b = np.atleast_1d(a), np.atleast_1d(b)
    for fits, problem in (((a == 1).all(), f"scale mismatch on crop (a = {a})"),
                          ((b <= 0).all(), f"cannot crop negative offset (b = {b})"),
                          ((np.round(b) == b).all(), f"cannot crop noninteger offset (b = {b})")):
        if not fits:
            raise AssertionError(problem)
    if axis is None:
        raise AssertionError("the tops are already aligned: no layer with a window is between them")
    offset = (-np.round(b)).astype(int).tolist()
    return L.Crop(top_from, top_to, crop_param={"axis": axis + 1, "offset": offset})
