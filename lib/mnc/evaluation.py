"""Average precision: mAP^r on mask overlap (the SBD/SDS protocol) and PASCAL's AP on box overlap.

mAP^r: the detections of a class, best score first, are each matched to the ground truth of their
image with the largest mask overlap; a match of at least the threshold with an instance not yet
found is right, all else is wrong (a second find of one instance too). AP is the 11-point mean of
precision; mAP^r its mean over the classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from tqdm import tqdm

from mnc.boxes.overlaps import bbox_overlaps
from mnc.data.dataset import Annotation, Dataset
from mnc.masks.overlaps import mask_overlap

# Of one class, an entry an image:
Truths = Sequence[tuple[np.ndarray, Sequence[np.ndarray]]]      # boxes (G, 4), G masks (h, w) bool
Found = Sequence[tuple[np.ndarray, np.ndarray]]                 # boxes (n, 5), masks (n, [1,] S, S)


@dataclass(frozen=True)
class Ranking:
    """The detections of one class over all images, best score first (ties: as given).

    image (n,); overlap (n,) with the best ground truth of that image, match (n,) its row there
    (-1: that image has none).
    """

    image: np.ndarray
    overlap: np.ndarray
    match: np.ndarray


@dataclass(frozen=True)
class Curve:
    """recall (n,) and precision (n,) after each detection of a ranking."""

    recall: np.ndarray
    precision: np.ndarray


def average_precision(recall: np.ndarray, precision: np.ndarray, *, eleven_point: bool) -> float:
    """Mean over r = 0, .1 .. 1 of the best precision at recall >= r; or the area under it."""
    if eleven_point:
        best = [precision[recall >= r].max(initial=0.0) for r in np.arange(0.0, 1.1, 0.1)]
        return float(np.mean(best))
    recall, precision = np.r_[0.0, recall, 1.0], np.r_[precision, 0.0]
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall) * envelope))


def precision_recall(right: np.ndarray, wrong: np.ndarray, positives: int) -> Curve:
    """The curve of a ranking of which right (n,) and wrong (n,) count; what is neither does not."""
    right, wrong, tiny = np.cumsum(right), np.cumsum(wrong), np.finfo(float).eps
    return Curve(right / max(positives, tiny), right / np.maximum(right + wrong, tiny))


def render(boxes: np.ndarray, masks: np.ndarray,
           binarize: float) -> tuple[np.ndarray, list[np.ndarray]]:
    """Whole-pixel boxes (n, 4) and n masks (h, w) bool of their sizes.

    boxes (n, 4 or more), masks (n, [1,] S, S). A mask is cut at `binarize`, resized bilinearly to
    its box and cut again.
    """
    whole = np.round(boxes[:, :4]).astype(int)
    sizes = np.maximum(whole[:, 2:] - whole[:, :2] + 1, 1)
    cut = (masks.reshape(len(masks), *masks.shape[-2:]) >= binarize).astype(np.float32)
    full = [cv2.resize(mask, (int(w), int(h))) for mask, (w, h) in zip(cut, sizes)]
    return whole, [mask >= binarize for mask in full]


def best_matches(boxes: np.ndarray, masks: Sequence[np.ndarray], truth_boxes: np.ndarray,
                 truth_masks: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The largest mask overlap (n,) of each detection, and the first row of the truths with it."""
    if not len(truth_boxes):
        return np.zeros(len(boxes)), np.full(len(boxes), -1)
    truth_boxes = np.asarray(truth_boxes).astype(int)
    overlaps = np.array([[mask_overlap(box, truth_box, mask, truth_mask)
                          for truth_box, truth_mask in zip(truth_boxes, truth_masks)]
                         for box, mask in zip(boxes, masks)]).reshape(len(boxes), len(truth_boxes))
    return overlaps.max(axis=1), overlaps.argmax(axis=1)


def rank(truths: Truths, detections: Found, binarize: float) -> Ranking:
    """The ranking of one class; image i has truths[i] and detections[i]."""
    parts = [np.zeros((4, 0))]                      # score, image, overlap, match
    for i, (truth, (boxes, masks)) in enumerate(zip(truths, detections)):
        if len(boxes):
            overlap, match = best_matches(*render(boxes, masks, binarize), *truth)
            parts.append(np.stack((boxes[:, 4], np.full(len(boxes), i), overlap, match)))
    score, image, overlap, match = np.concatenate(parts, axis=1)
    order = np.argsort(-score, kind="stable")
    return Ranking(image[order].astype(int), overlap[order], match[order].astype(int))


def right_ones(ranking: Ranking, threshold: float) -> np.ndarray:
    """(n,) bool: overlap >= threshold with an instance that no better detection has found."""
    hits = np.flatnonzero((ranking.overlap >= threshold) & (ranking.match >= 0))
    pairs = np.stack((ranking.image[hits], ranking.match[hits]), axis=1)
    _, first = np.unique(pairs, axis=0, return_index=True)
    right = np.zeros(len(ranking.overlap), bool)
    right[hits[first]] = True
    return right


def mask_ap(truths: Truths, detections: Found, thresholds: Sequence[float],
            binarize: float = 0.4) -> list[float]:
    """AP^r of one class at each threshold; nan when no image has an instance of it."""
    positives = sum(len(boxes) for boxes, _ in truths)
    if not positives:
        return [float("nan")] * len(thresholds)
    ranking = rank(truths, detections, binarize)
    rights = [right_ones(ranking, threshold) for threshold in thresholds]
    curves = [precision_recall(right, ~right, positives) for right in rights]
    return [average_precision(c.recall, c.precision, eleven_point=True) for c in curves]


def evaluate(dataset: Dataset, detections: Sequence[Found],
             thresholds: Sequence[float] = (0.5, 0.7), binarize: float = 0.4, *,
             progress: bool = False) -> dict[str, float | dict[str, float]]:
    """mAP^r of detections[class][image] = (boxes (n, 5) x1 y1 x2 y2 score, masks (n, [1,] S, S)).

    {'mAP^r@0.5': mean, 'AP^r@0.5': {class: AP}, ...}; a class without an instance is nan and left
    out of the mean. Class 0 is not looked at.
    """
    check_detections(dataset, detections)
    found = [dataset.annotation(i) for i in range(len(dataset))]
    table = {}
    for c in tqdm(range(1, len(detections)), desc="evaluating", unit="class", disable=not progress):
        truths = [of_class(one, c) for one in found]
        table[dataset.classes[c]] = mask_ap(truths, detections[c], thresholds, binarize)
    result: dict[str, float | dict[str, float]] = {}
    for k, threshold in enumerate(thresholds):
        column = {name: row[k] for name, row in table.items()}
        known = [value for value in column.values() if not np.isnan(value)]
        result[f"mAP^r@{threshold:g}"] = float(np.mean(known)) if known else float("nan")
        result[f"AP^r@{threshold:g}"] = column
    return result


def of_class(found: Annotation, label: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Boxes and masks of the instances with this label."""
    rows = np.flatnonzero(found.labels == label)
    return found.boxes[rows], [found.masks[k] for k in rows]


def check_detections(dataset: Dataset, detections: Sequence[Found]) -> None:
    """Raise ValueError unless each class has an entry an image, with boxes (n, 5) and n masks."""
    if len(detections) != len(dataset.classes):
        raise ValueError(f"detections of {len(detections)} classes for {len(dataset.classes)} of "
                         f"{dataset.name} (background included)")
    for c in range(1, len(detections)):
        where = f"detections of class {dataset.classes[c]}"
        if len(detections[c]) != len(dataset):
            raise ValueError(f"{where}: {len(detections[c])} images, {dataset.name} has "
                             f"{len(dataset)}")
        for name, (boxes, masks) in zip(dataset.names, detections[c]):
            here, n = f"{where}, image {name}", len(boxes)
            if n and np.shape(boxes) != (n, 5):
                raise ValueError(f"{here}: boxes must be (n, 5) x1 y1 x2 y2 score, "
                                 f"got {np.shape(boxes)}")
            if len(masks) != n or n and np.shape(masks)[1:-2] not in ((), (1,)):
                raise ValueError(f"{here}: masks must be ({n}, S, S) or ({n}, 1, S, S), "
                                 f"got {np.shape(masks)}")


def box_curve(truths: Sequence[tuple[np.ndarray, np.ndarray]], detections: Sequence[np.ndarray],
              threshold: float) -> Curve:
    """PASCAL's curve of one class; image i has truths[i] = (boxes (G, 4), difficult (G,)).

    detections[i] (n, 5). One is right where its largest overlap exceeds the threshold and the
    instance is not yet found; on a difficult instance it does not count either way.
    """
    image = np.repeat(np.arange(len(detections)), [len(rows) for rows in detections])
    rows = np.concatenate([np.reshape(rows, (-1, 5)) for rows in detections])
    order = np.argsort(-rows[:, 4], kind="stable")
    taken = [np.zeros(len(boxes), bool) for boxes, _ in truths]
    right, wrong = np.zeros(len(order), bool), np.zeros(len(order), bool)
    for place, k in enumerate(order):
        boxes, difficult = truths[image[k]]
        overlaps = bbox_overlaps(rows[k:k + 1, :4], boxes)[0] if len(boxes) else np.zeros(1)
        best = overlaps.argmax()
        if overlaps[best] > threshold and difficult[best]:
            continue
        right[place] = overlaps[best] > threshold and not taken[image[k]][best]
        wrong[place] = not right[place]
        if right[place]:
            taken[image[k]][best] = True
    positives = sum(int(np.sum(np.logical_not(difficult))) for _, difficult in truths)
    return precision_recall(right, wrong, positives)
