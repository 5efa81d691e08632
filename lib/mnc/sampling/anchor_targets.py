"""Training targets of the region proposal network: a label and deltas for each anchor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnc.boxes.overlaps import bbox_overlaps
from mnc.boxes.regression import bbox_compute_targets


@dataclass(frozen=True)
class AnchorSampling:
    """How anchors are labelled and sampled."""
    positive_overlap: float = 0.7
    negative_overlap: float = 0.3
    clobber_positives: bool = False     # negatives win where both rules apply
    batch_size: int = 256
    fg_fraction: float = 0.5
    inside_weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
    positive_weight: float = -1.0       # of all positives together; negative: all samples alike
    best_overlaps: bool = False         # a truth's best anchor is positive only if it meets it


@dataclass(frozen=True)
class AnchorTargets:
    """One row for each of the T anchors."""
    labels: np.ndarray                  # (T,) 1 object, 0 background, -1 not used
    bbox_targets: np.ndarray            # (T, 4)
    bbox_inside_weights: np.ndarray     # (T, 4)
    bbox_outside_weights: np.ndarray    # (T, 4)


def anchor_targets(anchors: np.ndarray, gt_boxes: np.ndarray, image_size: tuple[int, int],
                   sampling: AnchorSampling, border: float = 0,
                   mixed: tuple[np.ndarray, np.ndarray] | None = None) -> AnchorTargets:
    """Label the `anchors` (T, 4) inside the image (height, width) and `border` pixels around it.

    gt_boxes (G, >=4). mixed: rows of the anchors whose proposals a later stage took for
    (foreground, background); they get these labels after the sampling.
    Random draws: surplus positives, then surplus negatives.
    """
    inside = _inside(anchors, image_size, border)
    overlaps = bbox_overlaps(anchors[inside], gt_boxes)                        # (I, G)
    nearest = overlaps.argmax(1) if overlaps.size else None
    labels = _subsample(_labels(overlaps, nearest, sampling), sampling)
    if mixed is not None:
        labels = _mix(unmap(labels, len(anchors), inside, fill=-1), inside, mixed)[inside]
    targets = np.zeros((len(inside), 4), np.float32)
    if nearest is not None:
        targets = bbox_compute_targets(anchors[inside], gt_boxes[nearest, :4], None)
    inside_weights = (labels == 1)[:, None] * np.array(sampling.inside_weights, np.float32)
    outside_weights = np.repeat(_outside_weights(labels, sampling)[:, None], 4, axis=1)
    rest = (unmap(a, len(anchors), inside) for a in (targets, inside_weights, outside_weights))
    return AnchorTargets(unmap(labels, len(anchors), inside, fill=-1), *rest)


def unmap(data: np.ndarray, count: int, rows: np.ndarray, fill: float = 0) -> np.ndarray:
    """(count, ...) float32 of `fill` with `data` at `rows`."""
    result = np.full((count, *data.shape[1:]), fill, np.float32)
    result[rows] = data
    return result


def _inside(anchors: np.ndarray, image_size: tuple[int, int], border: float) -> np.ndarray:
    height, width = image_size
    return np.where((anchors[:, :2] >= -border).all(1)
                    & (anchors[:, 2] < width + border) & (anchors[:, 3] < height + border))[0]


def _labels(overlaps: np.ndarray, nearest: np.ndarray | None,
            sampling: AnchorSampling) -> np.ndarray:
    """1: all best anchors of some truth and those of a high overlap; 0: those of a low one.

    Of a truth that meets no anchor inside the image every anchor is the best, with an overlap of 0:
    in the public code they all become positive. With sampling.best_overlaps none does.
    """
    labels = np.full(len(overlaps), -1, np.float32)
    best = np.zeros(len(overlaps)) if nearest is None else \
        overlaps[np.arange(len(overlaps)), nearest]
    negative = best < sampling.negative_overlap
    if not sampling.clobber_positives:
        labels[negative] = 0
    best_of_truth = overlaps.max(axis=0, initial=0)                            # (G,)
    if sampling.best_overlaps:
        best_of_truth[best_of_truth == 0] = np.nan      # which no overlap equals
    labels[np.flatnonzero(overlaps == best_of_truth) // max(1, len(best_of_truth))] = 1
    labels[best >= sampling.positive_overlap] = 1
    if sampling.clobber_positives:
        labels[negative] = 0
    return labels


def _subsample(labels: np.ndarray, sampling: AnchorSampling) -> np.ndarray:
    """Put surplus positives, then surplus negatives, out of use."""
    labels = labels.copy()
    max_fg = int(sampling.fg_fraction * sampling.batch_size)
    _disable_surplus(labels, 1, max_fg)
    _disable_surplus(labels, 0, sampling.batch_size - int((labels == 1).sum()))
    return labels


def _disable_surplus(labels: np.ndarray, value: int, limit: int) -> None:
    rows = np.where(labels == value)[0]
    if len(rows) > limit:
        labels[np.random.choice(rows, size=len(rows) - limit, replace=False)] = -1


def _mix(labels: np.ndarray, inside: np.ndarray,
         mixed: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    fg, bg = (np.asarray(rows).astype(int).ravel() for rows in mixed)
    labels[bg[np.isin(bg, inside)]] = 0
    labels[fg[np.isin(fg, inside)]] = 1
    return labels


def _outside_weights(labels: np.ndarray, sampling: AnchorSampling) -> np.ndarray:
    positive, negative = labels == 1, labels == 0
    if sampling.positive_weight < 0:
        return ((positive | negative) / max((labels >= 0).sum(), 1)).astype(np.float32)
    share = sampling.positive_weight
    return (positive * (share / max(positive.sum(), 1))
            + negative * ((1 - share) / max(negative.sum(), 1))).astype(np.float32)
