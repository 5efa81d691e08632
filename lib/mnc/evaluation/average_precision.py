"""Average precision: mAP^r on mask overlap (the SBD/SDS protocol) and PASCAL's AP on box overlap.

mAP^r: the detections of a class, best score first, are each matched to the ground truth of their
image with the largest mask overlap; a match of at least the threshold with an instance not yet
found is right, all else is wrong (a second find of one instance too), except that what matches an
instance to be ignored (difficult, a crowd, or without a mask) does not count either way. AP is the
11-point mean of precision or the area under its curve; mAP^r is the mean AP of the classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from mnc.boxes.overlaps import bbox_overlaps
from mnc.data.dataset import Annotation, Dataset
from mnc.instances import Detections, SetDetections
from mnc.masks.overlaps import mask_overlaps
from mnc.masks.rendering import render, solid

Figures = dict[str, float | dict[str, float]]


@dataclass(frozen=True)
class Truth:
    """The G instances of one class in one image."""

    boxes: np.ndarray                       # (G, 4)
    masks: Sequence[np.ndarray]             # G of (h, w) bool
    ignored: np.ndarray                     # (G,) bool: neither to be found nor wrong

    @property
    def wanted(self) -> int:
        return int(np.sum(~self.ignored))


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
    """Mean over r = 0, .1 .. 1 of the best precision at recall >= r; or the area under it.

    recall, precision: (points,).
    """
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


def best_matches(boxes: np.ndarray, masks: Sequence[np.ndarray], truth_boxes: np.ndarray,
                 truth_masks: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The largest mask overlap (n,) of each detection, and the first row of the truths with it."""
    if not len(truth_boxes):
        return np.zeros(len(boxes)), np.full(len(boxes), -1)
    truth_boxes = np.asarray(truth_boxes).astype(int)
    overlaps = mask_overlaps(boxes, masks, truth_boxes, truth_masks)
    return overlaps.max(axis=1), overlaps.argmax(axis=1)


def rank(truths: Sequence[Truth], detections: Sequence[Detections], binarize: float) -> Ranking:
    """The ranking of one class; image i has truths[i] and detections[i]."""
    parts = [np.zeros((4, 0))]                      # score, image, overlap, match
    for i, (truth, (boxes, masks)) in enumerate(zip(truths, detections)):
        if len(boxes):
            overlap, match = best_matches(*render(boxes, masks, binarize), truth.boxes, truth.masks)
            parts.append(np.stack((boxes[:, 4], np.full(len(boxes), i), overlap, match)))
    score, image, overlap, match = np.concatenate(parts, axis=1)
    order = np.argsort(-score, kind="stable")
    return Ranking(image[order].astype(int), overlap[order], match[order].astype(int))


def judge(ranking: Ranking, truths: Sequence[Truth],
          threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """(right, wrong), (n,) bool each; a detection of an ignored instance is neither.

    Right: overlap >= threshold with an instance that no better detection has found.
    """
    hits = np.flatnonzero((ranking.overlap >= threshold) & (ranking.match >= 0))
    pairs = np.stack((ranking.image[hits], ranking.match[hits]), axis=1)
    _, first = np.unique(pairs, axis=0, return_index=True)
    right, ignored = np.zeros((2, len(ranking.overlap)), bool)
    right[hits[first]] = True
    ignored[hits] = [truths[image].ignored[match] for image, match in pairs]
    return right & ~ignored, ~right & ~ignored


def mask_curves(truths: Sequence[Truth], detections: Sequence[Detections],
                thresholds: Sequence[float], binarize: float = 0.4) -> list[Curve] | None:
    """The curve of one class at each threshold; None when there is no instance to be found."""
    wanted = sum(truth.wanted for truth in truths)
    if not wanted:
        return None
    ranking = rank(truths, detections, binarize)
    return [precision_recall(*judge(ranking, truths, t), wanted) for t in thresholds]


def mask_ap(truths: Sequence[Truth], detections: Sequence[Detections], thresholds: Sequence[float],
            binarize: float = 0.4) -> list[float]:
    """AP^r of one class at each threshold (11-point); nan when there is no instance of it."""
    curves = mask_curves(truths, detections, thresholds, binarize)
    if curves is None:
        return [float("nan")] * len(thresholds)
    return [average_precision(c.recall, c.precision, eleven_point=True) for c in curves]


def of_class(found: Annotation, label: int) -> Truth:
    """The instances with this label; one without a mask is ignored, on all of its box."""
    one = found.rows(found.labels == label)
    return Truth(one.boxes, [solid(box) if mask is None else mask
                             for box, mask in zip(one.boxes, one.mask_list)],
                 one.ignored | ~one.has_mask)


# --- whole data sets -----------------------------------------------------------------------------

ClassCurves = dict[str, list[Curve] | None]         # of each class, a curve a threshold


def evaluate(dataset: Dataset, detections: SetDetections,
             thresholds: Sequence[float] = (0.5, 0.7), binarize: float = 0.4, *,
             eleven_point: bool = True, progress: bool = False) -> Figures:
    """mAP^r of `detections[class][image]` = (boxes (n, 5) x1 y1 x2 y2 score, masks).

    {'mAP^r@0.5': mean, 'AP^r@0.5': {class: AP}, ...}; a class without an instance is nan and left
    out of the mean. Class 0 is not looked at.
    """
    curves = mask_curves_by_class(dataset, detections, thresholds, binarize, progress=progress)
    return figures(curves, thresholds, "r", eleven_point=eleven_point)


def mask_curves_by_class(dataset: Dataset, detections: SetDetections,
                         thresholds: Sequence[float], binarize: float = 0.4, *,
                         progress: bool = False) -> ClassCurves:
    """Curves of mask overlap for each class but the background."""
    check_detections(dataset, detections)
    found = [dataset.annotation(i) for i in range(len(dataset))]
    return {dataset.classes[c]: mask_curves([of_class(one, c) for one in found], detections[c],
                                            thresholds, binarize)
            for c in tqdm(range(1, len(detections)), desc="evaluating", unit="class",
                          disable=not progress)}


def box_curves_by_class(dataset: Dataset, boxes: Sequence[Sequence[np.ndarray]],
                        thresholds: Sequence[float] = (0.5,)) -> ClassCurves:
    """Curves of box overlap for each class but the background; `boxes[class][image]` (n, 5)."""
    found = [dataset.annotation(i) for i in range(len(dataset))]
    curves: ClassCurves = {}
    for c, name in list(enumerate(dataset.classes))[1:]:
        rows = [one.rows(one.labels == c) for one in found]
        truths = [(one.boxes, one.ignored) for one in rows]
        wanted = sum(int(np.sum(~ignored)) for _, ignored in truths)
        curves[name] = [box_curve(truths, boxes[c], t) for t in thresholds] if wanted else None
    return curves


def figures(curves: ClassCurves, thresholds: Sequence[float], kind: str, *,
            eleven_point: bool = True) -> Figures:
    """{'mAP^KIND@t': mean, 'AP^KIND@t': {class: AP}} for each threshold t."""
    result: Figures = {}
    for k, threshold in enumerate(thresholds):
        column = {name: float("nan") if found is None else average_precision(
            found[k].recall, found[k].precision, eleven_point=eleven_point)
            for name, found in curves.items()}
        result[f"mAP^{kind}@{threshold:g}"] = mean_known(column)
        result[f"AP^{kind}@{threshold:g}"] = column
    return result


def mean_known(column: Mapping[str, float]) -> float:
    """The mean of what is not nan."""
    known = [value for value in column.values() if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def check_detections(dataset: Dataset, detections: SetDetections) -> None:
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
            maps = isinstance(masks, np.ndarray)
            if len(masks) != n or (maps and n and np.shape(masks)[1:-2] not in ((), (1,))):
                got = np.shape(masks) if maps else f"{len(masks)} masks"
                raise ValueError(f"{here}: masks must be ({n}, S, S) or ({n}, 1, S, S), "
                                 f"got {got}")


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
