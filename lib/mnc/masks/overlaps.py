"""Intersection over union of two instance masks, each cropped to its box."""

from __future__ import annotations

import numpy as np


def common_window(box1: np.ndarray, box2: np.ndarray) -> np.ndarray | None:
    """The box shared by two whole-pixel boxes; None if they do not meet."""
    window = np.concatenate((np.maximum(box1[:2], box2[:2]), np.minimum(box1[2:4], box2[2:4])))
    return window if (window[:2] <= window[2:]).all() else None


def window_of(mask: np.ndarray, box: np.ndarray, window: np.ndarray) -> np.ndarray:
    """The part (a view) of `mask`, cropped to `box`, that lies in `window`."""
    x1, y1, x2, y2 = window - np.tile(box[:2], 2)
    return mask[y1:y2 + 1, x1:x2 + 1]


def mask_overlap(box1: np.ndarray, box2: np.ndarray, mask1: np.ndarray, mask2: np.ndarray) -> float:
    """|mask1 and mask2| / |mask1 or mask2| of boolean masks at whole-pixel boxes; 0 for 0/0."""
    box1, box2 = np.asarray(box1), np.asarray(box2)
    window = common_window(box1, box2)
    if window is None:
        return 0.0
    both = np.logical_and(window_of(mask1, box1, window), window_of(mask2, box2, window)).sum()
    union = mask1.sum() + mask2.sum() - both
    return float(both / union) if union >= 1 else 0.0
