"""Where a pixel of one top lies in another, and the Crop that aligns them.

A map (axis, scale, shift) sends a coordinate i of the axes behind `axis` to scale * i + shift;
axis None is a layer that leaves coordinates alone. Scale and shift are arrays, one value for all
spatial axes or one each.
"""

from __future__ import annotations

import numpy as np

from caffe.engine.description import CoordinateMap, UndefinedMapException
from caffe.engine.layer import LAYERS, layer_class
from caffe.layer_types.layout import crop_options
from caffe.layer_types.window import window_options
from caffe.net_spec import Function, Top
from caffe.net_spec import layers as L

PASS_THROUGH_LAYERS = [name for name in LAYERS.names() if layer_class(name).keeps_coordinates]
_IDENTITY: CoordinateMap = (None, 1, 0)


class AxisMismatchException(Exception):
    """Two maps that begin at different axes cannot be composed."""


def conv_params(fn: Function) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """(axis, stride, extent of the dilated kernel, pad) of a layer with a sliding window."""
    return window_options(fn.type_name, fn.params)


def crop_params(fn: Function) -> tuple[int, np.ndarray]:
    """(axis, offset) of a Crop layer."""
    return crop_options(fn.params)


def coord_map(fn: Function) -> CoordinateMap:
    """The map from coordinates of the layer's bottom to those of its top, as (axis, a, b).

    Raises UndefinedMapException for layers that have none.
    """
    if fn.type_name in PASS_THROUGH_LAYERS:
        return _IDENTITY
    found = layer_class(fn.type_name).coordinate_map(fn.params)
    if found is None:
        raise UndefinedMapException(f"{fn.type_name} has no coordinate map")
    return found


def compose(base_map: CoordinateMap, next_map: CoordinateMap) -> CoordinateMap:
    """base after next: a1 (a2 i + b2) + b1.

    Raises AxisMismatchException where they are not of one axis.
    """
    (axis1, a1, b1), (axis2, a2, b2) = base_map, next_map
    if None not in (axis1, axis2) and axis1 != axis2:
        raise AxisMismatchException(f"maps on axis {axis1} and axis {axis2}")
    return axis2 if axis1 is None else axis1, a1 * a2, a1 * b2 + b1


def inverse(coord_map: CoordinateMap) -> CoordinateMap:
    """The map that goes back."""
    axis, a, b = coord_map
    return axis, 1 / a, -b / a


def coord_map_from_to(top_from: Top, top_to: Top) -> CoordinateMap:
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
        sizes = layer_class(each.fn.type_name).sized_like
        bottoms = [b for i, b in enumerate(each.fn.inputs) if i not in sizes]
        try:
            for bottom in bottoms:
                maps[bottom] = compose(maps[each], coord_map(each.fn))
                waiting.append(bottom)
        except UndefinedMapException:
            continue


def crop(top_from: Top, top_to: Top) -> Top:
    """A Crop of `top_from` to the place and size of `top_to`.

    They must have one scale, and `top_from` must reach beyond `top_to` by whole pixels.

    Raises AssertionError where one of this does not hold.
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
