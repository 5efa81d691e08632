"""Anchors: the boxes that the region proposal network's deltas are relative to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def generate_anchors(base_size: int = 16, ratios: Sequence[float] = (0.5, 1, 2),
                     scales: Sequence[float] = (8, 16, 32)) -> np.ndarray:
    """(A, 4) anchors of one cell, ratio-major, about a square of base_size pixels at (0, 0).

    Each ratio = height / width keeps the square's area and rounds to whole pixels; each scale then
    multiplies both sides.
    """
    aspects = np.asarray(ratios, np.float64)
    widths = np.round(np.sqrt(base_size ** 2 / aspects))
    heights = np.round(widths * aspects)
    sizes = np.stack((np.outer(widths, scales), np.outer(heights, scales)), axis=2)
    half = (sizes.reshape(-1, 2) - 1) / 2                     # (A, 2)
    centre = (base_size - 1) / 2
    return np.hstack((centre - half, centre + half))          # (A, 4)


def anchors_of_maps(anchors: np.ndarray, shapes: Sequence[Sequence[int]],
                    strides: Sequence[int]) -> np.ndarray:
    """(T, 4): at every cell of every map of a feature pyramid, map by map, by (y, x, anchor).

    shapes: (height, width) of each map. `anchors` (A, 4), about one centre, are those of the first
    map, and grow with the stride; here they lie about the middle of the cell.
    """
    about_0 = anchors - (anchors[0, :2] + anchors[0, 2:]).mean() / 2
    return np.concatenate([
        shifted_anchors(_grown(about_0, stride / strides[0]) + (stride - 1) / 2, h, w, stride)
        for (h, w), stride in zip(shapes, strides)])


def _grown(about_0: np.ndarray, factor: float) -> np.ndarray:
    """Boxes of `factor` times the size about 0; a side is its last pixel less its first, plus 1."""
    return about_0 * factor + np.array([-1, -1, 1, 1]) * (factor - 1) / 2


def shifted_anchors(anchors: np.ndarray, height: int, width: int, stride: int) -> np.ndarray:
    """(height * width * A, 4): the anchors at every cell of the map, by (y, x, anchor)."""
    x, y = np.meshgrid(np.arange(width) * stride, np.arange(height) * stride)
    shifts = np.stack((x, y, x, y), axis=2)                   # (H, W, 4)
    return (shifts[:, :, None, :] + anchors).reshape(-1, 4)
