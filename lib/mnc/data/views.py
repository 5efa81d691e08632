"""Where things are in an image that is flipped, turned, rotated, cropped; with their masks.

A view first flips the image upside down, then turns it by quarters, then rotates it about its
centre on a canvas of the same size, then takes a window of that. Flips, quarters and windows move
whole pixels; a rotation is bilinear, of the image as of masks, which cover a pixel from one half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from mnc.data.augmentation import Augmentation

HOLE = 0.3                  # of a side of the window: the longest side of a cut-out
Masks = list[np.ndarray | None]


@dataclass(frozen=True, eq=False)
class Sample:
    """An image with its G instances."""

    image: np.ndarray               # (H, W, 3) uint8 BGR
    boxes: np.ndarray               # (G, 4) float32
    labels: np.ndarray              # (G,)
    masks: Masks | None             # G arrays (h, w) bool of their boxes' sizes, None without one
    zoom: float = 1.0               # factor on the scale that the net is given it at

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)"""
        return self.image.shape[0], self.image.shape[1]


@dataclass(frozen=True)
class View:
    """What is done to an image of this size; a window is (x, y, width, height)."""

    size: tuple[int, int]           # (H, W) of the image, before it is turned
    window: tuple[int, int, int, int]
    flipped: bool = False
    quarters: int = 0               # counter-clockwise
    angle: float = 0.0              # degrees, counter-clockwise
    zoom: float = 1.0
    holes: tuple[tuple[int, int, int, int], ...] = ()       # in the window

    @classmethod
    def of(cls, size: tuple[int, int]) -> View:
        """The image as it is."""
        return cls(size, (0, 0, size[1], size[0]))

    @classmethod
    def drawn(cls, size: tuple[int, int], how: Augmentation,
              generator: np.random.Generator) -> View:
        """A view by chance. What is enlarged is cropped, so that no image becomes larger for the
        net than it was.
        """
        flipped = bool(generator.random() < how.flip_vertical)
        quarters = int(generator.integers(1, 4)) if generator.random() < how.rotate_90 else 0
        angle = float(generator.uniform(-how.rotate, how.rotate))
        zoom = float(np.exp(generator.uniform(*np.log(how.scale))))
        share = float(generator.uniform(how.crop, 1)) * min(1, 1 / zoom)
        height, width = size[::-1] if quarters % 2 else size
        window = _somewhere((width, height), (share, share), generator)
        holes = tuple(_somewhere(window[2:], generator.uniform(0, HOLE, 2), generator)
                      for _ in range(generator.integers(0, how.cutout + 1)))
        return cls(size, window, flipped, quarters, angle, zoom, holes)

    @property
    def _matrix(self) -> np.ndarray:
        """(2, 3): from the turned image into the window, both in pixel centres."""
        height, width = self.size[::-1] if self.quarters % 2 else self.size
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), self.angle, 1)
        matrix[:, 2] -= self.window[:2]
        return matrix

    def image(self, image: np.ndarray) -> np.ndarray:
        """The image in this view, uint8 of the window's size; its mean colour where it ends."""
        x, y, width, height = self.window
        turned = self._turned(image)
        if not self.angle:
            return np.ascontiguousarray(turned[y:y + height, x:x + width])
        return cv2.warpAffine(np.ascontiguousarray(turned), self._matrix, (width, height),
                              flags=cv2.INTER_LINEAR, borderValue=cv2.mean(image))

    def cut_out(self, image: np.ndarray) -> np.ndarray:
        """The window (height, width, 3) with holes of its mean colour."""
        if not self.holes:
            return image
        image, fill = image.copy(), np.round(cv2.mean(image)[:3])
        for x, y, width, height in self.holes:
            image[y:y + height, x:x + width] = fill
        return image

    def instances(self, sample: Sample, min_visible: float) -> Sample:
        """Those that are seen, with boxes tight around what is seen of their masks.

        Without a mask an instance is what is seen of its box.
        """
        boxes, masks, rows = [], [], []
        given = sample.masks or [None] * len(sample.boxes)
        for row, (box, mask) in enumerate(zip(sample.boxes, given)):
            seen = self._box(box) if mask is None else self._mask(box, mask)
            if seen is not None and seen[2] >= min_visible:
                boxes.append(seen[0])
                masks.append(seen[1])
                rows.append(row)
        return replace(sample, boxes=np.array(boxes, np.float32).reshape(-1, 4),
                       labels=sample.labels[rows], masks=None if sample.masks is None else masks)

    def _turned(self, plane: np.ndarray) -> np.ndarray:
        return np.rot90(plane[::-1] if self.flipped else plane, self.quarters)

    def _turned_box(self, box: np.ndarray) -> np.ndarray:
        """x1, y1, x2, y2 after the flip and the quarters."""
        (x1, y1, x2, y2), (height, width) = np.asarray(box, float), self.size
        if self.flipped:
            y1, y2 = height - 1 - y2, height - 1 - y1
        for _ in range(self.quarters):          # what was at the right is at the top
            x1, y1, x2, y2 = y1, width - 1 - x2, y2, width - 1 - x1
            height, width = width, height
        return np.array([x1, y1, x2, y2])

    def _bounds(self, box: np.ndarray) -> np.ndarray:
        """x1, y1, x2, y2 in the window's pixels of a turned box when it is rotated."""
        x1, y1, x2, y2 = box + np.array([-.5, -.5, .5, .5])
        corners = np.array([(x1, y1, 1), (x1, y2, 1), (x2, y1, 1), (x2, y2, 1)]) @ self._matrix.T
        return np.concatenate((corners.min(0) + .5, corners.max(0) - .5))

    def _box(self, box: np.ndarray) -> tuple[np.ndarray, None, float] | None:
        """(box, no mask, share of it that is seen)"""
        whole = self._bounds(self._turned_box(box))
        _, _, width, height = self.window
        seen = np.clip(whole, 0, [width - 1, height - 1] * 2)
        if (whole[:2] > [width - 1, height - 1]).any() or (whole[2:] < 0).any():
            return None
        covered = _area(seen)
        for x, y, w, h in self.holes:
            common = np.concatenate((np.maximum(seen[:2], [x, y]),
                                     np.minimum(seen[2:], [x + w - 1, y + h - 1])))
            covered -= _area(common)
        return seen, None, covered / _area(whole)

    def _mask(self, box: np.ndarray,
              mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, float] | None:
        """(tight box, its mask, share of its pixels that is seen)"""
        (x, y), moved = self._moved_mask(self._turned_box(box).astype(int), self._turned(mask))
        _, _, width, height = self.window
        left, top = max(-x, 0), max(-y, 0)
        seen = moved[top:max(height - y, 0), left:max(width - x, 0)]
        rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
        if not len(rows):
            return None
        seen = seen[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]
        x1, y1 = x + left + int(columns[0]), y + top + int(rows[0])
        tight = np.array([x1, y1, x1 + seen.shape[1] - 1, y1 + seen.shape[0] - 1])
        return tight, seen, self._uncovered(seen, x1, y1) / moved.sum()

    def _moved_mask(self, box: np.ndarray,
                    mask: np.ndarray) -> tuple[tuple[int, int], np.ndarray]:
        """((x, y) in the window, mask (h, w)) of a turned mask, not yet cut at the edges."""
        if not self.angle:
            return (int(box[0] - self.window[0]), int(box[1] - self.window[1])), mask
        bounds = self._bounds(box)
        x, y = np.floor(bounds[:2]).astype(int).tolist()
        width, height = (np.ceil(bounds[2:]).astype(int) + 1 - (x, y)).tolist()
        matrix = self._matrix
        matrix[:, 2] += matrix[:, :2] @ box[:2] - (x, y)
        covered = cv2.warpAffine(mask.astype(np.uint8) * 255, matrix, (width, height),
                                 flags=cv2.INTER_LINEAR)
        return (x, y), covered >= 128

    def _uncovered(self, mask: np.ndarray, x1: int, y1: int) -> int:
        """Pixels of a mask at (x1, y1) of the window that no hole hides."""
        if not self.holes:
            return int(mask.sum())
        left = mask.copy()
        for x, y, width, height in self.holes:
            left[max(y - y1, 0):max(y + height - y1, 0),
                 max(x - x1, 0):max(x + width - x1, 0)] = False
        return int(left.sum())


def _somewhere(size: tuple[int, int], shares: Sequence[float] | np.ndarray,
               generator: np.random.Generator) -> tuple[int, int, int, int]:
    """A window of these shares of the sides (width, height), a pixel at least."""
    sides = [min(max(round(share * side), 1), side) for share, side in zip(shares, size)]
    x, y = (int(generator.integers(0, whole - side + 1)) for whole, side in zip(size, sides))
    return x, y, sides[0], sides[1]


def _area(box: np.ndarray) -> float:
    return float(np.maximum(box[2:] - box[:2] + 1, 0).prod())
