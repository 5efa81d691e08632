"""Boxes to deltas and back, with the derivative of decoding; clipping and filtering."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MOST_GROWTH = 75.0      # of log size: e^75 times a side of 10^5 pixels is below float32's largest


@dataclass(frozen=True)
class Normalization:
    """Training targets are (delta - means) / stds."""
    means: np.ndarray       # (4,)
    stds: np.ndarray        # (4,)


def bbox_transform(ex: np.ndarray, gt: np.ndarray) -> np.ndarray:
    """(N, 4) deltas from boxes `ex` to `gt`: shift of the centre / size of ex, log of growth."""
    ex_w, ex_h, ex_x, ex_y = _sizes_and_centres(ex)
    gt_w, gt_h, gt_x, gt_y = _sizes_and_centres(gt)
    return np.stack(((gt_x - ex_x) / ex_w, (gt_y - ex_y) / ex_h,
                     np.log(gt_w / ex_w), np.log(gt_h / ex_h)), axis=1)


def bbox_compute_targets(ex: np.ndarray, gt: np.ndarray,
                         normalization: Normalization | None) -> np.ndarray:
    """(N, 4) float32 regression targets, normalised when `normalization` is given."""
    targets = bbox_transform(ex, gt)
    if normalization is not None:
        targets = (targets - np.asarray(normalization.means)) / np.asarray(normalization.stds)
    return targets.astype(np.float32)


def bbox_transform_inv(boxes: np.ndarray, deltas: np.ndarray) -> np.ndarray:
    """(N, 4K): `deltas` (N, 4K) of K classes applied to `boxes` (N, 4), in the deltas' dtype.

    w = x2 - x1 + 1, cx = x1 + w/2; the result is cx + dx*w -+ exp(dw)*w/2, so that x2, y2 of a
    decoded encoding lie one pixel further than they were (the public code's form). Growth is
    bounded where it would overflow: such boxes cover any image either way.
    """
    w, h, x, y = (a[:, None] for a in _sizes_and_centres(boxes.astype(deltas.dtype, copy=False)))
    d = deltas.reshape(len(deltas), deltas.shape[1] // 4, 4)
    half = deltas.dtype.type(0.5)
    pred_x, pred_y = d[..., 0] * w + x, d[..., 1] * h + y     # (N, K)
    pred_w, pred_h = growth_of(d[..., 2]) * w, growth_of(d[..., 3]) * h
    corners = np.stack((pred_x - half * pred_w, pred_y - half * pred_h,
                        pred_x + half * pred_w, pred_y + half * pred_h), axis=2)
    return corners.reshape(deltas.shape)                      # (N, K, 4) -> (N, 4K)


def bounded_growth(deltas: np.ndarray, most: float | np.ndarray) -> np.ndarray:
    """`deltas` (N, 4K) with dw and dh of at most `most`, a number or one each: (2,)."""
    found = deltas.reshape(len(deltas), deltas.shape[1] // 4, 4).copy()
    found[..., 2:] = np.minimum(found[..., 2:], np.asarray(most, deltas.dtype))
    return found.reshape(deltas.shape)


def growth_of(deltas: np.ndarray) -> np.ndarray:
    """exp(deltas), bounded so that a box times it is a finite float32; any shape."""
    return np.exp(np.minimum(deltas, deltas.dtype.type(MOST_GROWTH)))


def decoding_gradient(boxes: np.ndarray, deltas: np.ndarray,
                      grad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Exact gradients of (boxes, deltas), given `grad` (N, 4) of bbox_transform_inv's result."""
    w, h, _, _ = _sizes_and_centres(boxes)
    size = np.stack((w, h), axis=1)                           # (N, 2), as all below: x and y alike
    shift, growth = deltas[:, :2], growth_of(deltas[:, 2:])
    centre = grad[:, :2] + grad[:, 2:]
    extent = (grad[:, 2:] - grad[:, :2]) / 2                  # w.r.t. the decoded width, height
    of_deltas = np.hstack((centre * size, extent * growth * size))
    of_size = centre * shift + extent * growth
    return np.hstack((centre / 2 - of_size, centre / 2 + of_size)), of_deltas


def clip_boxes(boxes: np.ndarray, im_shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """(boxes (N, 4K) clipped to the image (height, width), rows that were wholly inside before).

    With several classes a row is listed once for each class that is inside.
    """
    corners = boxes.reshape(len(boxes), boxes.shape[1] // 4, 4)
    last = _last_pixels(im_shape)
    clipped = np.clip(corners, 0, last).astype(boxes.dtype, copy=False).reshape(boxes.shape)
    inside = ((corners[..., :2] >= 0) & (corners[..., 2:] <= last[2:])).all(axis=2)     # (N, K)
    return clipped, np.where(inside)[0]


def clipping_gradient(boxes: np.ndarray, im_shape: tuple[int, int], grad: np.ndarray) -> np.ndarray:
    """Gradient through clip_boxes: coordinates of `boxes` (N, 4) that were clipped pass nothing."""
    return np.where((boxes >= 0) & (boxes <= _last_pixels(im_shape)), grad, 0)


def filter_small_boxes(boxes: np.ndarray, min_size: float) -> np.ndarray:
    """Indices of the boxes whose width and height both reach `min_size`.

    boxes (N, 4); indices of the shape (kept,).
    """
    w, h, _, _ = _sizes_and_centres(boxes)
    return np.where((w >= min_size) & (h >= min_size))[0]


def scale_boxes(boxes: np.ndarray, alpha: float) -> np.ndarray:
    """Boxes (N, 4) with `alpha` times the sides about the same centre."""
    w, h, x, y = _sizes_and_centres(boxes)
    w, h = w * alpha / 2, h * alpha / 2
    return np.stack((x - w, y - h, x + w, y + h), axis=1)


def _sizes_and_centres(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    w = boxes[:, 2] - boxes[:, 0] + 1
    h = boxes[:, 3] - boxes[:, 1] + 1
    half = w.dtype.type(0.5) if w.dtype.kind == "f" else 0.5
    return w, h, boxes[:, 0] + half * w, boxes[:, 1] + half * h


def _last_pixels(im_shape: tuple[int, int]) -> np.ndarray:
    height, width = im_shape[:2]
    return np.array([width - 1, height - 1, width - 1, height - 1])
