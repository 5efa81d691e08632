"""What is said of a test's results: figures of PASCAL's and COCO's protocols, a file, a table."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from caffe.extend import atomic_path
from mnc.data.dataset import Dataset
from mnc.evaluation import average_precision as evaluation
from mnc.evaluation.average_precision import Figures
from mnc.evaluation.coco import STANDARD, coco_metric, entries_metric
from mnc.instances import SetDetections
from mnc.masks.rendering import tight_boxes
from mnc.results.detections import Saved
from mnc.tasks import Task, task_named

VOLUME = [k / 10 for k in range(1, 10)]      # thresholds that mAP^r_vol is the mean over


def figures_of(saved: Saved, dataset: Dataset, binarize: float,
               metrics: Sequence[str] = ("voc",), *, eleven_point: bool = True,
               progress: bool = True) -> Figures:
    """PASCAL's figures ('voc') and COCO's ('coco'). progress: a bar, on a terminal."""
    found: Figures = {}
    if "voc" in metrics:
        found |= measure(dataset, saved.detections, saved.task, binarize,
                         eleven_point=eleven_point, progress=progress)
    if "coco" in metrics:
        kinds = ("r", "b") if saved.task.masks and has_masks(dataset) else ("b",)
        most = _most_results(saved.about)
        found |= (coco_metric(dataset, saved.detections, binarize, kinds=kinds, most=most)
                  if saved.entries is None else entries_metric(dataset, saved.entries, kinds=kinds))
    return found


def _most_results(about: Mapping[str, Any]) -> int:
    """TEST.MAX_PER_IMAGE that results were found with; COCO's 100 where that is not known."""
    settings = about.get("settings")
    test = settings.get("TEST") if isinstance(settings, Mapping) else None
    most = test.get("MAX_PER_IMAGE") if isinstance(test, Mapping) else None
    return most if isinstance(most, int) else STANDARD[-1]


def measure(dataset: Dataset, detections: SetDetections, task: str | Task, binarize: float, *,
            eleven_point: bool = True, progress: bool = True) -> Figures:
    """PASCAL's figures of detections[class][image], each mean with the APs of all classes.

    mAP^r@0.5 and @0.7, mAP^r_vol (mean over 0.1 .. 0.9) and, on the tight boxes of the masks,
    mAP^b@0.5; for a task without masks ('det') mAP^b@0.5 of the boxes alone, as where the data set
    has no mask.

    Raises ValueError where the detections are not of these classes and images.
    """
    curves = curves_of(dataset, detections, task, binarize, progress=progress)
    result: Figures = {}
    if "r" in curves:
        all_of_r = evaluation.figures(curves["r"], VOLUME, "r", eleven_point=eleven_point)
        result = {name: all_of_r[name] for t in (0.5, 0.7) for name in (f"mAP^r@{t}", f"AP^r@{t}")}
        columns: Any = [all_of_r[f"AP^r@{t:g}"] for t in VOLUME]       # of classes, each
        volume = {name: float(np.mean([c[name] for c in columns])) for name in curves["r"]}
        result |= {"mAP^r_vol": evaluation.mean_known(volume), "AP^r_vol": volume}
    return result | evaluation.figures(curves["b"], (0.5,), "b", eleven_point=eleven_point)


def curves_of(dataset: Dataset, detections: SetDetections, task: str | Task,
              binarize: float, *, progress: bool = True) -> dict[str, evaluation.ClassCurves]:
    """'r': curves at each threshold of VOLUME, where there are masks; 'b': at 0.5."""
    if not task_named(task).masks or not has_masks(dataset):
        boxes = [[boxes for boxes, _ in per_image] for per_image in detections]
        return {"b": evaluation.box_curves_by_class(dataset, boxes)}
    masks = evaluation.mask_curves_by_class(dataset, detections, VOLUME, binarize,
                                            progress=progress and sys.stderr.isatty())
    tight = [[tight_boxes(boxes, masks, binarize) for boxes, masks in per_image]
             for per_image in detections]
    return {"r": masks, "b": evaluation.box_curves_by_class(dataset, tight)}


def has_masks(dataset: Dataset) -> bool:
    """Whether any instance of the data set has a mask; True where there is no instance at all."""
    instances = 0
    for i in range(len(dataset)):
        found = dataset.annotation(i)
        if found.has_mask.any():
            return True
        instances += len(found.labels)
    return not instances


def save_metrics(path: Path, metrics: Mapping[str, object], **about: object) -> None:
    """JSON of the figures and what they are about; a class without an instance has null."""
    text = json.dumps(_without_nan({**about, **metrics}), indent=2)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n")


def _without_nan(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _without_nan(v) for key, v in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def table(metrics: Mapping[str, Any]) -> str:
    """A line for each class and one for the means; a column for each measure by class."""
    columns = {name: values for name, values in metrics.items() if isinstance(values, Mapping)}
    means = {name: metrics[mean_of(name)] for name in columns}
    alone = {name: value for name, value in metrics.items()
             if isinstance(value, float) and name not in map(mean_of, columns)}
    classes = list(next(iter(columns.values())))
    width = max(len(name) for name in [*classes, "mean"])
    rows = {"": dict(zip(columns, columns))}
    rows |= {label: {name: _percent(column[label]) for name, column in columns.items()}
             for label in classes}
    rows["mean"] = {name: _percent(value) for name, value in means.items()}
    lines = [f"{label:<{width}}" + "".join(f"{text:>{max(10, len(name) + 2)}}"
                                           for name, text in row.items())
             for label, row in rows.items()]
    lines += [f"{name}: {_percent(value)}" for name, value in alone.items()]
    return "\n".join(lines)


def mean_of(column: str) -> str:
    """The name of the mean of a column: AP^r@0.5 -> mAP^r@0.5"""
    return column.replace("AP", "mAP", 1)


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


