"""Large images in overlapping tiles, each seen as an image: what is cut by a seam comes out once.

A result that ends at a seam is a part of something. It is left out where another tile, or the view
of the whole image, shows the same thing uncut: where that result, cut by the same tile, would be
this one. What is longer than the overlap of two tiles is whole in no tile, only in the whole view.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from mnc.boxes.overlaps import bbox_overlaps
from mnc.instances import InferenceError, Raw

SAME = 0.5                  # IoU of a part with an uncut result that is cut alike
AS_SURE = 0.5               # of the part's score, that the uncut result must reach
LEAST = 0.01                # score of a result of a tile that is kept at all: there are many tiles
NEAR = 1 / 64               # of a tile's side: results this near to a seam end at it
MOST_OVERLAP = 0.9


@dataclass(frozen=True)
class Tiling:
    """How images are cut."""

    side: int               # of a tile, in pixels of the image; 0: images are not cut
    overlap: float          # of neighbouring tiles, at least, as a share of the side

    def __post_init__(self) -> None:
        """Raises InferenceError for tiles that cannot be."""
        if self.side < 0 or not 0 <= self.overlap <= MOST_OVERLAP:
            raise InferenceError("TEST.TILES is a side in pixels, or 0, and TEST.TILE_OVERLAP "
                                 f"from 0 to {MOST_OVERLAP}; got {self.side} and {self.overlap}")


@dataclass(frozen=True)
class Tile:
    """A part of an image: its pixels from x1, y1 up to x2, y2, these not included."""

    x1: int
    y1: int
    x2: int
    y2: int

    @property
    def box(self) -> np.ndarray:
        """(4,) x1 y1 x2 y2, inclusive."""
        return np.array([self.x1, self.y1, self.x2 - 1, self.y2 - 1], float)

    def of(self, image: np.ndarray) -> np.ndarray:
        """The part (h, w, 3) of an image (H, W, 3)."""
        return image[self.y1:self.y2, self.x1:self.x2]


def tiles_of(size: tuple[int, int], tiling: Tiling) -> list[Tile]:
    """Tiles of one size, evenly over an image of this (height, width); one if it is no larger."""
    height, width = size
    places = [_places(side, tiling) for side in (height, width)]
    high, wide = (min(side, tiling.side or side) for side in (height, width))
    return [Tile(x, y, x + wide, y + high) for y, x in product(*places)]


def _places(side: int, tiling: Tiling) -> list[int]:
    """Where tiles begin along a side of the image."""
    if not 0 < tiling.side < side:
        return [0]
    step = max(1, int(tiling.side * (1 - tiling.overlap)))
    number = 1 + -(-(side - tiling.side) // step)
    return np.linspace(0, side - tiling.side, number).round().astype(int).tolist()


def joined_tiles(tiles: Sequence[Tile], found: Sequence[Raw], size: tuple[int, int]) -> list[Raw]:
    """What was found in each tile, in pixels of the image of this (height, width).

    Without parts of what another tile shows whole.
    """
    moved = [_moved(raw, tile) for raw, tile in zip(found, tiles)]
    boxes, scores = zip(*(_best(raw) for raw in moved))
    cut = [_is_cut(each, tile, size) for each, tile in zip(boxes, tiles)]
    kept = []
    for k, tile in enumerate(tiles):
        whole = [j for j, other in enumerate(tiles) if j != k and _meet(tile, other)]
        others = [(boxes[j][~cut[j]], scores[j][~cut[j]]) for j in whole]
        part = np.flatnonzero(cut[k])
        shown = _shown(boxes[k][part], scores[k][part], others, tile)
        keep = scores[k] >= LEAST
        keep[part[shown]] = False
        kept.append(Raw(moved[k].boxes[keep], moved[k].masks[keep], moved[k].scores[keep]))
    return kept


def _moved(raw: Raw, tile: Tile) -> Raw:
    shift = np.tile([tile.x1, tile.y1], raw.boxes.shape[1] // 2).astype(raw.boxes.dtype)
    return Raw(raw.boxes + shift, raw.masks, raw.scores)


def _best(raw: Raw) -> tuple[np.ndarray, np.ndarray]:
    """(boxes (N, 4), scores (N,)) of the class that each result is most."""
    label = raw.scores[:, 1:].argmax(axis=1) + 1
    rows = np.arange(len(label))
    if raw.boxes.shape[1] == 4:
        return raw.boxes, raw.scores[rows, label]
    return raw.boxes.reshape(len(rows), -1, 4)[rows, label], raw.scores[rows, label]


def _is_cut(boxes: np.ndarray, tile: Tile, size: tuple[int, int]) -> np.ndarray:
    """(N,) bool: a box (N, 4) ends at a side of the tile that is none of the image."""
    near = max(2.0, NEAR * max(tile.x2 - tile.x1, tile.y2 - tile.y1))
    x1, y1, x2, y2 = tile.box
    height, width = size
    ends = ((x1 > 0, boxes[:, 0] - x1), (y1 > 0, boxes[:, 1] - y1),
            (x2 < width - 1, x2 - boxes[:, 2]), (y2 < height - 1, y2 - boxes[:, 3]))
    return np.any([inner & (gap < near) for inner, gap in ends], axis=0)


def _meet(one: Tile, other: Tile) -> bool:
    return (one.x1 < other.x2 and other.x1 < one.x2 and one.y1 < other.y2 and other.y1 < one.y2)


def _shown(parts: np.ndarray, scores: np.ndarray, others: Sequence[tuple[np.ndarray, np.ndarray]],
           tile: Tile) -> np.ndarray:
    """(n,) bool: which parts (n, 4) are uncut among the others, (boxes, scores) each."""
    shown = np.zeros(len(parts), bool)
    low, high = tile.box[:2], tile.box[2:]
    for boxes, other_scores in others:
        clipped = np.hstack((np.maximum(boxes[:, :2], low), np.minimum(boxes[:, 2:], high)))
        inside = (clipped[:, :2] <= clipped[:, 2:]).all(axis=1)
        if inside.any() and len(parts):
            alike = bbox_overlaps(parts.astype(np.float32), clipped[inside].astype(np.float32))
            sure = other_scores[inside][None] >= AS_SURE * scores[:, None]
            shown |= ((alike >= SAME) & sure).any(axis=1)
    return shown
