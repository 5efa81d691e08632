"""What the errors of a test cost, and where it is good: figures from results that are matched.

For mnc.commands.analyse; figures are this room's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from mnc.evaluation.average_precision import average_precision, mean_known, precision_recall
from mnc.evaluation.matching import (
    BACKGROUND,
    BOTH,
    CLASS,
    DUPLICATE,
    IGNORED,
    LOCALISATION,
    MEANINGS,
    MISSED,
    RIGHT,
    Matched,
)

Row = dict[str, Any]

KINDS = (CLASS, LOCALISATION, BOTH, DUPLICATE, BACKGROUND, MISSED)
CALIBRATION_BINS = 10
NUMBERS = ((1, 1), (2, 3), (4, 7), (8, 15), (16, None))     # instances an image


def ap(found: Matched, classes: int, wanted: np.ndarray | None = None) -> float:
    """Mean over the classes of the area under precision-recall; nan without any instance.

    wanted (classes,): instances to be found of each class, if not all that are not ignored.
    """
    if wanted is None:
        wanted = np.bincount(found.truth_label[~found.ignored], minlength=classes)
    counts = found.kind != IGNORED
    values = {}
    for c in range(1, classes):
        rows = (found.label == c) & counts
        right = found.kind[rows] == RIGHT
        curve = precision_recall(right, ~right, int(wanted[c]))
        values[str(c)] = average_precision(curve.recall, curve.precision, eleven_point=False) \
            if wanted[c] else float("nan")
    return mean_known(values)


def errors(found: Matched, classes: int) -> list[Row]:
    """Of each kind of error: how many there are, and the AP that would be won without it.

    Each kind is mended by itself, as TIDE does: a wrong class or place is put right, if nothing
    else has found the instance, and dropped otherwise; what is double or finds nothing is dropped;
    instances that were missed are not asked for.
    """
    now = ap(found, classes)
    rows: list[Row] = []
    for kind in KINDS:
        number = int(found.missed.sum() if kind == MISSED else np.sum(found.kind == kind))
        rows.append({"kind": kind, "number": number,
                     "AP lost": max(_without(found, kind, classes) - now, 0.0),
                     "which is": MEANINGS[kind]})
    return rows


def _without(found: Matched, kind: str, classes: int) -> float:
    if kind == MISSED:
        asked = ~found.ignored & ~found.missed
        wanted = np.bincount(found.truth_label[asked], minlength=classes)
        return ap(found, classes, wanted)
    return ap(_mended(found, kind), classes)


def _mended(found: Matched, kind: str) -> Matched:
    """The results without this kind of error."""
    label, kinds = found.label.copy(), found.kind.copy()
    taken = set(found.truth[found.kind == RIGHT].tolist())
    for n in np.flatnonzero(found.kind == kind):        # the best score first
        truth = int(found.truth[n])
        mendable = kind in (CLASS, LOCALISATION) and truth not in taken
        kinds[n] = RIGHT if mendable else IGNORED
        if mendable:
            label[n] = found.truth_label[truth]
            taken.add(truth)
    return replace(found, label=label, kind=kinds)


def confusion(found: Matched, classes: int, score: float) -> np.ndarray:
    """(classes, classes) int: row the truth, column what was said; 0 the background of either.

    Results of at least this score. Row 0: results without an instance, right class or not; column
    0: instances without a result. Ignored instances are left out.
    """
    table = np.zeros((classes, classes), int)
    told = found.score >= score
    seen: set[int] = set()
    for n in np.flatnonzero(told & np.isin(found.kind, (RIGHT, CLASS))):
        truth = int(found.truth[n])
        if truth in seen:
            table[0, found.label[n]] += 1
            continue
        seen.add(truth)
        table[found.truth_label[truth], found.label[n]] += 1
    nothing = np.isin(found.kind, (LOCALISATION, BOTH, DUPLICATE, BACKGROUND))
    np.add.at(table[0], found.label[told & nothing], 1)
    unseen = ~found.ignored & ~np.isin(np.arange(len(found.ignored)), list(seen))
    np.add.at(table[:, 0], found.truth_label[unseen], 1)
    return table


def thresholds(found: Matched) -> list[Row]:
    """Precision, recall and F1 of all classes together for each score from .05 to .95."""
    wanted = int(np.sum(~found.ignored))
    counted = found.kind != IGNORED
    rows: list[Row] = []
    for score in np.arange(0.05, 1, 0.05).round(2):
        kept = counted & (found.score >= score)
        right, number = int(np.sum(found.kind[kept] == RIGHT)), int(kept.sum())
        precision = right / number if number else float("nan")
        recall = right / wanted if wanted else float("nan")
        rows.append({"score": float(score), "results": number, "precision": precision,
                     "recall": recall, "F1": 2 * right / max(number + wanted, 1)})
    return rows


def best_threshold(rows: Sequence[Row]) -> float:
    """The score of the best F1; the lowest of several."""
    return max(rows, key=lambda row: row["F1"])["score"]


def calibration(found: Matched) -> list[Row]:
    """Of each tenth of the scores: results, their mean score, the share of them that is right."""
    counted = found.kind != IGNORED
    place = np.clip((found.score * CALIBRATION_BINS).astype(int), 0, CALIBRATION_BINS - 1)
    rows: list[Row] = []
    for k in range(CALIBRATION_BINS):
        here = counted & (place == k)
        rows.append({"from": k / CALIBRATION_BINS, "to": (k + 1) / CALIBRATION_BINS,
                     "results": int(here.sum()),
                     "mean score": float(found.score[here].mean()) if here.any() else float("nan"),
                     "right": float((found.kind[here] == RIGHT).mean()) if here.any()
                     else float("nan")})
    return rows


def calibration_error(rows: Sequence[Row]) -> float:
    """Mean over the results of |score - share that is right| of their tenth; nan without any."""
    known = [row for row in rows if row["results"]]
    number = sum(row["results"] for row in known)
    apart = sum(abs(row["mean score"] - row["right"]) * row["results"] for row in known)
    return apart / number if number else float("nan")


def by_size(found: Matched, classes: int, parts: int = 4) -> list[Row]:
    """AP of instances of a size, in quarters of the instances by area.

    Of a quarter, results count that are about its instances, or about none and of such an area.
    """
    own = found.truth_area[~found.ignored]
    if not len(own):
        return []
    edges = np.unique([*np.quantile(own, np.arange(parts) / parts), np.inf])
    rows: list[Row] = []
    for low, high in pairwise(edges.tolist()):
        inside = (found.truth_area >= low) & (found.truth_area < high)
        about = found.truth >= 0
        area = np.where(about, found.truth_area[found.truth], found.area)
        kept = (area >= low) & (area < high)
        part = replace(found, kind=np.where(kept, found.kind, IGNORED),
                       ignored=found.ignored | ~inside)
        rows.append({"from": float(low), "to": float(high if np.isfinite(high) else own.max()),
                     "instances": int(np.sum(~part.ignored)), "AP": ap(part, classes)})
    return rows


def by_number(found: Matched, classes: int) -> list[Row]:
    """AP of images by how many instances they have; results on images without any count in none."""
    number = np.zeros(int(max([*found.image, *found.truth_image], default=-1)) + 1, int)
    np.add.at(number, found.truth_image[~found.ignored], 1)
    rows: list[Row] = []
    for low, high in NUMBERS:
        images = (number >= low) & (number <= (high or number.max(initial=0)))
        if not images.any():
            continue
        part = replace(found, kind=np.where(images[found.image], found.kind, IGNORED),
                       ignored=found.ignored | ~images[found.truth_image])
        rows.append({"instances": f"{low}" if low == high else f"{low}-{high}" if high else
                     f"{low}+", "images": int(images.sum()), "AP": ap(part, classes)})
    return rows
