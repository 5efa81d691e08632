"""Intersection over union of instance masks, each cropped to its whole-pixel box."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from caffe import ops


def common_window(box1: np.ndarray, box2: np.ndarray) -> np.ndarray | None:
    """The box shared by two whole-pixel boxes; None if they do not meet.

    Boxes and result: (4, ) x1, y1, x2, y2.
    """
    x1, y1 = max(box1[0], box2[0]), max(box1[1], box2[1])
    x2, y2 = min(box1[2], box2[2]), min(box1[3], box2[3])
    return np.array([x1, y1, x2, y2]) if x1 <= x2 and y1 <= y2 else None


def window_of(mask: np.ndarray, box: np.ndarray, window: np.ndarray) -> np.ndarray:
    """The part (a view) of `mask`, cropped to `box`, that lies in `window`.

    mask (h, w); box, window: x1, y1, x2, y2 (inclusive).
    """
    (x1, y1, x2, y2), (x, y) = window[:4], box[:2]
    return mask[y1 - y:y2 + 1 - y, x1 - x:x2 + 1 - x]


def shared_pixels(box: np.ndarray, mask: np.ndarray, other_box: np.ndarray,
                  other: np.ndarray) -> int:
    """Pixels that two bool masks (h, w), cropped to their whole-pixel boxes (4,), both cover."""
    window = common_window(box, other_box)
    if window is None:
        return 0
    return int((window_of(mask, box, window) & window_of(other, other_box, window)).sum())


def mask_overlaps(boxes: np.ndarray, masks: Sequence[np.ndarray], query: np.ndarray,
                  query_masks: Sequence[np.ndarray]) -> np.ndarray:
    """(N, K) float64: |a and b| / |a or b| of each of `masks` with each of `query_masks`.

    boxes (N, 4), query (K, 4); N and K masks (h, w), each as large as its box. A box with x2 < x1
    or y2 < y1 holds nothing, whatever its mask. 0 where both masks are empty.
    """
    masks, query_masks = ([np.asarray(m, bool) for m in some] for some in (masks, query_masks))
    return ops.mask_overlaps(boxes, masks, query, query_masks).numpy()


def mask_overlap(box1: np.ndarray, box2: np.ndarray, mask1: np.ndarray, mask2: np.ndarray) -> float:
    """`mask_overlaps` of one mask with one other.

    Boxes of the shape (4,), masks (h, w) of their boxes.
    """
    return float(mask_overlaps(np.array([box1]), [mask1], np.array([box2]), [mask2])[0, 0])
