"""Where the anchors lie: at the cells of one map, or of those of a feature pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from caffe.extend import Blob, Layer, LayerError
from mnc.boxes.anchors import anchors_of_maps, shifted_anchors


@dataclass(frozen=True)
class AnchorGrid:
    """The option feat_stride of a layer."""

    title: str                          # of the layer, for errors
    stride: int | None                  # of one map
    strides: tuple[int, ...] = ()       # of the maps of a pyramid

    @classmethod
    def of(cls, layer: Layer, feat_stride: Any, maps: Sequence[Blob]) -> AnchorGrid:
        """feat_stride: a number, or a list of as many as there are maps; else LayerError."""
        strides = feat_stride if isinstance(feat_stride, list) else []
        if len(strides) != len(maps):
            raise LayerError(f"{layer.title}: feat_stride {feat_stride} wants "
                             f"{len(strides) or 'no'} maps of a pyramid as the last bottoms, "
                             f"there are {len(maps)}")
        return cls(layer.title, None if strides else feat_stride, tuple(strides))

    @property
    def steps(self) -> tuple[int, ...]:
        """The stride of each map."""
        return self.strides or (self.stride or 0,)

    def of_levels(self, of_cell: np.ndarray) -> np.ndarray:
        """(L, A, 4): the anchors at the first cell of each map; of_cell (A, 4)."""
        if self.stride is not None:
            return of_cell[None]
        return anchors_of_maps(of_cell, [(1, 1)] * len(self.strides), self.strides).reshape(
            len(self.strides), *of_cell.shape)

    def anchors(self, of_cell: np.ndarray, size: tuple[int, int],
                maps: Sequence[Blob]) -> np.ndarray:
        """(T, 4), in the order of scores (1, 2A, *size); of_cell (A, 4)."""
        if self.stride is not None:
            return _of_maps(_hashable(of_cell), (size,), (self.stride,), pyramid=False)
        shapes = tuple(blob.shape[2:] for blob in maps)
        cells = sum(h * w for h, w in shapes)
        if size != (cells, 1):
            raise LayerError(f"{self.title}: maps {', '.join(f'{h} x {w}' for h, w in shapes)} "
                             f"have {cells} cells, so scores must be (1, 2A, {cells}, 1), got a "
                             f"plane of {size[0]} x {size[1]}")
        return _of_maps(_hashable(of_cell), shapes, self.strides, pyramid=True)


Numbers = tuple[tuple[float, ...], ...]


def _hashable(boxes: np.ndarray) -> Numbers:
    return tuple(map(tuple, boxes.tolist()))


@lru_cache(maxsize=8)       # two layers of a net ask for those of each image, and sizes come again
def _of_maps(of_cell: Numbers, shapes: tuple[tuple[int, int], ...], strides: tuple[int, ...], *,
             pyramid: bool) -> np.ndarray:
    """(T, 4), not to be written to."""
    cell = np.array(of_cell)
    found = anchors_of_maps(cell, shapes, strides) if pyramid else \
        shifted_anchors(cell, *shapes[0], strides[0])
    found.flags.writeable = False
    return found
