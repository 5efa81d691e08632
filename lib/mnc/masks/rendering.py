"""Mask maps on whole pixels: resized to their boxes, cut, put into an image.

A map covers the pixels of its box where it reaches the threshold after bilinear resizing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np


def resize(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear, half-pixel centres: float32 (height, width)."""
    mask = np.ascontiguousarray(mask, np.float32)
    return cv2.resize(mask, (int(width), int(height)), interpolation=cv2.INTER_LINEAR)


def render(boxes: np.ndarray, masks: np.ndarray | Sequence[np.ndarray],
           binarize: float) -> tuple[np.ndarray, list[np.ndarray]]:
    """Whole-pixel boxes (n, 4) and n masks (h, w) bool of their sizes.

    boxes (n, 4 or more); masks (n, S, S), (n, 1, S, S), or n maps (h, w). A map is cut at
    `binarize`, resized bilinearly to its box, unless it is as large, and cut again.
    """
    whole = np.round(boxes[:, :4]).astype(int)
    sizes = np.maximum(whole[:, 2:] - whole[:, :2] + 1, 1)
    return whole, [_rendered(mask, w, h, binarize) for mask, (w, h) in zip(masks, sizes)]


def _rendered(mask: np.ndarray, width: int, height: int, binarize: float) -> np.ndarray:
    cut = np.reshape(mask, np.shape(mask)[-2:]) >= binarize
    return cut if cut.shape == (height, width) else resize(cut, height, width) >= binarize


def spread(box: np.ndarray, mask: np.ndarray,
           image_size: tuple[int, int]) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """A mask (S, S) over its box, whose corners may lie between pixels.

    Bilinear, as `resize` is where the box is of whole pixels. Returns (h, w) float32, the pixels of
    an image (H, W) whose centres lie in the box, at least one, and their x1 y1 x2 y2, the last two
    excluded.
    """
    (x1, y1, x2, y2), (height, width) = box[:4], image_size
    rows, top = _across(float(y1), float(y2), height, mask.shape[0])
    columns, left = _across(float(x1), float(x2), width, mask.shape[1])
    return rows @ mask @ columns.T, (left, top, left + len(columns), top + len(rows))


def _across(first: float, last: float, size: int, side: int) -> tuple[np.ndarray, int]:
    """(pixels, side) weights of a mask's cells for an axis' pixels, and the first of those."""
    start = min(max(math.ceil(first - 0.5), 0), size - 1)
    stop = max(min(math.ceil(last + 0.5), size), start + 1)
    place = (np.arange(start, stop) + 0.5 - first) * side / max(last - first + 1, 1e-6) - 0.5
    place = place.clip(0, side - 1)
    return np.maximum(1 - np.abs(place[:, None] - np.arange(side)), 0).astype(np.float32), start


def tight_boxes(boxes: np.ndarray, masks: np.ndarray | Sequence[np.ndarray],
                binarize: float) -> np.ndarray:
    """boxes (n, 5) drawn in to what their masks cover; as they are where that is nothing."""
    tight = np.array(boxes, float).reshape(len(boxes), 5)
    for row, box, mask in zip(tight, *render(boxes, masks, binarize)):
        ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if len(ys):
            row[:4] = box[0] + xs[0], box[1] + ys[0], box[0] + xs[-1], box[1] + ys[-1]
    return tight


def solid(box: np.ndarray) -> np.ndarray:
    """(h, w) bool: a mask that fills the box."""
    x1, y1, x2, y2 = np.asarray(box).astype(int)
    return np.ones((y2 - y1 + 1, x2 - x1 + 1), bool)


def pasted(box: np.ndarray, mask: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: the mask (h, w) of a whole-pixel box in an image of this size, cut at its edge.

    box (x1, y1, x2, y2), of which the first corner and the mask's shape count.
    """
    canvas = np.zeros(image_size, bool)
    x, y = (int(v) for v in box[:2])
    top, left = max(-y, 0), max(-x, 0)
    window = canvas[y + top:y + mask.shape[0], x + left:x + mask.shape[1]]
    window[...] = mask[top:top + window.shape[0], left:left + window.shape[1]]
    return canvas
