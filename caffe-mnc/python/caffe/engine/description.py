"""What the type and the options of a layer tell before there is a layer: for drawings, for Crop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

CoordinateMap = tuple[Any, Any, Any]        # (axis, scale, shift), see caffe.coord_map


class UndefinedMapException(Exception):
    """A layer whose tops have no linear relation to the coordinates of its bottoms."""


@dataclass(frozen=True)
class Drawing:
    """What a drawing of a net shows of a layer, beside its name and type."""

    color: str = "#6495ED"
    kind: str = ""                  # behind the type: of pooling
    window: tuple[int, int, int] | None = None      # kernel, stride, pad
    flows: str = '""'               # on the edges that leave it
    weight_and_bias: bool = False   # has these two parameters, with learning rates of their own
