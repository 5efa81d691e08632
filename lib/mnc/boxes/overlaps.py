"""Intersection over union of boxes."""

from __future__ import annotations

import numpy as np


def bbox_overlaps(boxes: np.ndarray, query: np.ndarray) -> np.ndarray:
    """(N, K) float64: IoU of each of `boxes` (N, >=4) with each of `query` (K, >=4)."""
    a, b = (np.asarray(x, np.float64) for x in (boxes, query))
    a = a[:, None, :]                                         # (N, 1, 4)
    w = np.minimum(a[..., 2], b[:, 2]) - np.maximum(a[..., 0], b[:, 0]) + 1
    h = np.minimum(a[..., 3], b[:, 3]) - np.maximum(a[..., 1], b[:, 1]) + 1
    meets = (w > 0) & (h > 0)
    intersection = np.where(meets, w * h, 0.0)
    union = areas(a) + areas(b) - intersection
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=meets)


def areas(boxes: np.ndarray) -> np.ndarray:
    """(...,) area of boxes (..., 4) in pixels."""
    return (boxes[..., 2] - boxes[..., 0] + 1) * (boxes[..., 3] - boxes[..., 1] + 1)
