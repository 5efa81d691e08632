"""What a test leaves behind: a file of detections, a file of figures, a table to read."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from caffe.engine.atomic_file import atomic_path
from mnc.evaluation import average_precision, box_curve, evaluate, of_class

# [c][i] = boxes (n, 5), masks (n, 1, S, S)
SetDetections = list[list[tuple[np.ndarray, np.ndarray]]]


def save_detections(path: Path, dataset, detections: SetDetections) -> None:
    """One compressed .npz, which numpy.load reads without pickle.

    Row by row `boxes` (n, 5), `masks` (n, S, S), `labels` (indices into `classes`), `images`
    (indices into `names`).
    """
    rows = [(boxes, masks[:, 0], np.full(len(boxes), c), np.full(len(boxes), i))
            for c, per_image in enumerate(detections) for i, (boxes, masks) in enumerate(per_image)]
    boxes, masks, labels, images = (np.concatenate(column) for column in zip(*rows))
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, boxes=boxes, masks=masks, labels=labels, images=images,
                            names=np.array(dataset.names), classes=np.array(dataset.classes))


def load_detections(path: Path) -> tuple[SetDetections, list[str]]:
    """(detections[c][i], names of the images) as `save_detections` wrote them."""
    with np.load(path) as file:
        labels, images = file["labels"], file["images"]
        boxes, masks, names = file["boxes"], file["masks"][:, None], file["names"].tolist()
        rows = [[np.flatnonzero((labels == c) & (images == i)) for i in range(len(names))]
                for c in range(len(file["classes"]))]
    return [[(boxes[r], masks[r]) for r in per_image] for per_image in rows], names


def measure(dataset, detections: SetDetections, task: str, binarize: float) -> dict[str, object]:
    """mAP^r at 0.5 and 0.7 with the APs of all classes; for task 'det' box AP at 0.5."""
    if task == "det":
        return measure_boxes(dataset, detections)
    return evaluate(dataset, detections, binarize=binarize, progress=sys.stderr.isatty())


def measure_boxes(dataset, detections: SetDetections, threshold: float = 0.5) -> dict[str, object]:
    """PASCAL's 11-point AP on box overlap."""
    annotations = [dataset.annotation(i) for i in range(len(dataset))]
    by_class = {}
    for c, name in list(enumerate(dataset.classes))[1:]:
        boxes = [of_class(each, c)[0] for each in annotations]
        if not sum(map(len, boxes)):
            by_class[name] = math.nan
            continue
        curve = box_curve([(b, np.zeros(len(b), bool)) for b in boxes],
                          [b for b, _ in detections[c]], threshold)
        by_class[name] = average_precision(curve.recall, curve.precision, eleven_point=True)
    known = [ap for ap in by_class.values() if not math.isnan(ap)]
    return {f"mAP^b@{threshold:g}": float(np.mean(known)) if known else math.nan,
            f"AP^b@{threshold:g}": by_class}


def save_metrics(path: Path, metrics: Mapping[str, object], **about: object) -> None:
    """JSON of the figures and what they are about; a class without an instance has null."""
    text = json.dumps(_without_nan({**about, **metrics}), indent=2)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n")


def _without_nan(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _without_nan(v) for key, v in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def table(metrics: Mapping[str, object]) -> str:
    """A line for each class and one for the means; a column for each threshold."""
    columns = {name: values for name, values in metrics.items() if isinstance(values, Mapping)}
    means = [value for value in metrics.values() if isinstance(value, float)]
    classes = list(next(iter(columns.values())))
    width = max(len(name) for name in [*classes, "mean"])
    lines = [" " * width + "".join(f"{name:>10}" for name in columns)]
    for label in classes:
        cells = "".join(f"{_percent(column[label]):>10}" for column in columns.values())
        lines.append(f"{label:<{width}}{cells}")
    lines.append(f"{'mean':<{width}}" + "".join(f"{_percent(value):>10}" for value in means))
    return "\n".join(lines)


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


