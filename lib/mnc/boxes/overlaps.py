"""Intersection over union of boxes."""

from __future__ import annotations

import numpy as np
import torch

from caffe import ops


def bbox_overlaps(boxes: np.ndarray, query: np.ndarray) -> np.ndarray:
    """(N, K) float64: IoU of each of `boxes` (N, >=4) with each of `query` (K, >=4)."""
    a, b = (torch.from_numpy(np.require(x, np.float64, ("C", "W"))) for x in (boxes, query))
    return ops.box_overlaps(a, b).numpy()


def areas(boxes: np.ndarray) -> np.ndarray:
    """(...,) area of boxes (..., 4) in pixels."""
    return (boxes[..., 2] - boxes[..., 0] + 1) * (boxes[..., 3] - boxes[..., 1] + 1)
