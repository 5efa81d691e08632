"""Every result of a set beside the instance it is about, and what is wrong with it.

The kinds of error are those of TIDE (Bolya, Foley, Hays, Hoffman: "TIDE: A General Toolbox for
Identifying Object Detection Errors", ECCV 2020), with its thresholds: an overlap of RIGHT_OVERLAP
makes a find, one below NEAR_OVERLAP is none at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from mnc.boxes.overlaps import areas, bbox_overlaps
from mnc.data.dataset import Annotation, Dataset
from mnc.instances import Detections, SetDetections
from mnc.masks.overlaps import mask_overlaps
from mnc.masks.rendering import render, solid

RIGHT_OVERLAP = 0.5
NEAR_OVERLAP = 0.1

# what a result is; of an instance, MISSED alone
RIGHT, IGNORED = "right", "ignored"
LOCALISATION, CLASS, DUPLICATE, BACKGROUND, BOTH = ("localisation", "class", "duplicate",
                                                    "background", "both")
MISSED = "missed"
MEANINGS = {
    CLASS: "the place is right, the class is not",
    LOCALISATION: f"the class is right, the overlap from {NEAR_OVERLAP} to {RIGHT_OVERLAP}",
    BOTH: "neither the place nor the class is right, but an instance is near",
    DUPLICATE: "an instance that a better result has found",
    BACKGROUND: "there is no instance",
    MISSED: "an instance that no result is about",
}


@dataclass(frozen=True)
class Matched:
    """n results, best score first, and G instances of a whole set."""

    image: np.ndarray           # (n,)
    label: np.ndarray           # (n,) in 1..K-1
    score: np.ndarray           # (n,)
    area: np.ndarray            # (n,) pixels
    kind: np.ndarray            # (n,) str
    truth: np.ndarray           # (n,) row of the instance it is about, -1: none
    truth_image: np.ndarray     # (G,)
    truth_label: np.ndarray     # (G,)
    truth_area: np.ndarray      # (G,) pixels
    ignored: np.ndarray         # (G,) bool: neither to be found nor wrong
    missed: np.ndarray          # (G,) bool


def match(dataset: Dataset, detections: SetDetections, binarize: float, *,
          masks: bool = True) -> Matched:
    """Match detections[class][image], by overlap of masks, or of boxes.

    binarize: masks cover the pixels where they reach this. Of each class the better score chooses
    first, the instance that it overlaps most and that is not found yet.
    """
    parts, rows = [], 0
    for i in range(len(dataset)):
        truth = dataset.annotation(i)
        parts.append(_image(i, truth, [per_image[i] for per_image in detections],
                            (binarize, masks, rows)))
        rows += len(truth.labels)
    columns = {field.name: np.concatenate([getattr(part, field.name) for part in parts])
               for field in fields(Matched)}
    order = np.argsort(-columns["score"], kind="stable")
    for name in ("image", "label", "score", "area", "kind", "truth"):
        columns[name] = columns[name][order]
    return Matched(**columns)


def _image(number: int, truth: Annotation, found: Sequence[Detections],
           how: tuple[float, bool, int]) -> Matched:
    """Of one image; how: (binarize, by masks, row of its first instance)."""
    binarize, by_masks, first = how
    label = np.repeat(np.arange(len(found)), [len(boxes) for boxes, _ in found])
    boxes = np.concatenate([np.reshape(boxes, (-1, 5)) for boxes, _ in found])
    maps = [mask for _, masks in found for mask in masks]
    order = np.argsort(-boxes[:, 4], kind="stable")
    boxes, label = boxes[order], label[order]
    ignored = truth.ignored | (~truth.has_mask if by_masks else False)
    if by_masks:
        whole, cut = render(boxes, [maps[k] for k in order], binarize)
        truths = [solid(box) if mask is None else mask
                  for box, mask in zip(truth.boxes, truth.mask_list)]
        overlap = mask_overlaps(whole, cut, truth.boxes.astype(int), truths)
        area = np.array([float(mask.sum()) for mask in cut])
    else:
        overlap, area = bbox_overlaps(boxes[:, :4], truth.boxes), areas(boxes[:, :4])
    overlap = np.reshape(overlap, (len(boxes), len(truth.labels)))
    kind, about = judged(overlap, label, truth.labels, ignored)
    told = np.isin(kind, (RIGHT, LOCALISATION, CLASS)) & (about >= 0)
    missed = ~ignored & ~np.isin(np.arange(len(truth.labels)), about[told])
    return Matched(np.full(len(boxes), number), label, boxes[:, 4], area, kind,
                   np.where(about < 0, -1, about + first), np.full(len(truth.labels), number),
                   np.asarray(truth.labels), truth.instance_areas(), ignored, missed)


def judged(overlap: np.ndarray, label: np.ndarray, truth_label: np.ndarray,
           ignored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(kind (n,), row of the instance each is about (n,), -1 for none) of one image's results.

    overlap (n, G), best score first; label (n,), truth_label (G,), ignored (G,) bool.
    """
    kind = np.full(len(label), BACKGROUND, dtype="U12")
    about = np.full(len(label), -1)
    same = label[:, None] == truth_label
    taken = np.zeros(len(truth_label), bool)
    for n in range(len(label) if len(truth_label) else 0):
        free = np.where(same[n] & ~taken & ~ignored, overlap[n], -1)
        if free.max() >= RIGHT_OVERLAP:
            kind[n], about[n] = RIGHT, free.argmax()
            taken[about[n]] = True
    wrong = np.flatnonzero(kind != RIGHT).tolist() if len(truth_label) else []
    for n in wrong:
        kind[n], about[n] = _wrong(overlap[n], same[n], ignored)
    return kind, about


def _wrong(overlap: np.ndarray, same: np.ndarray, ignored: np.ndarray) -> tuple[str, int]:
    """The kind of a result that found nothing, and what it is about; TIDE's order of questions."""
    if np.where(ignored & same, overlap, 0).max() >= RIGHT_OVERLAP:
        return IGNORED, -1
    own = np.where(same & ~ignored, overlap, -1)
    others = np.where(~same & ~ignored, overlap, -1)
    if NEAR_OVERLAP <= own.max() < RIGHT_OVERLAP:
        return LOCALISATION, int(own.argmax())
    if others.max() >= RIGHT_OVERLAP:
        return CLASS, int(others.argmax())
    if own.max() >= RIGHT_OVERLAP:
        return DUPLICATE, int(own.argmax())
    return (BACKGROUND if others.max() < NEAR_OVERLAP else BOTH), -1
