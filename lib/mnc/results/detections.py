"""What a test leaves behind: a file of detections, a file of figures, a table to read."""

from __future__ import annotations

import json
import math
import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from caffe.extend import atomic_path
from mnc.data.dataset import DataError
from mnc.evaluation import average_precision as evaluation

# [c][i] = boxes (n, 5), masks (n, 1, S, S)
SetDetections = list[list[tuple[np.ndarray, np.ndarray]]]


def save_detections(path: Path, dataset, detections: SetDetections,
                    about: Mapping[str, object] | None = None) -> None:
    """One compressed .npz, which numpy.load reads without pickle.

    Row by row `boxes` (n, 5), `masks` (n, S, S), `labels` (indices into `classes`), `images`
    (indices into `names`); `about`: JSON of what made it (mnc.results.origin).
    """
    rows = [(boxes, masks[:, 0], np.full(len(boxes), c), np.full(len(boxes), i))
            for c, per_image in enumerate(detections) for i, (boxes, masks) in enumerate(per_image)]
    boxes, masks, labels, images = (np.concatenate(column) for column in zip(*rows))
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, boxes=boxes, masks=masks, labels=labels, images=images,
                            names=np.array(dataset.names), classes=np.array(dataset.classes),
                            about=np.array(json.dumps(about or {})))


def load_detections(path: Path) -> tuple[SetDetections, list[str]]:
    """(detections[c][i], names of the images) as `save_detections` wrote them."""
    with _opened(path) as file:
        boxes, masks, names = file["boxes"], file["masks"][:, None], file["names"].tolist()
        classes, place = len(file["classes"]), file["labels"] * len(names) + file["images"]
    order = np.argsort(place, kind="stable")
    ends = np.searchsorted(place[order], np.arange(1, classes * len(names)))
    rows = np.split(order, ends)                            # class by class, image by image
    found = [(boxes[r], masks[r]) for r in rows]
    return [found[c * len(names):(c + 1) * len(names)] for c in range(classes)], names


def about_detections(path: Path) -> dict[str, object]:
    """What `save_detections` was told about them; empty where that was nothing."""
    with _opened(path) as file:
        return json.loads(str(file["about"])) if "about" in file else {}


@contextmanager
def _opened(path: Path) -> Iterator[Mapping[str, np.ndarray]]:
    """The arrays of a results file; DataError if it is torn or another file."""
    try:
        with open(path, "rb") as stream, np.load(stream) as file:
            yield file
    except (BadZipFile, EOFError, KeyError, ValueError, zlib.error) as error:
        raise DataError(f"{path}: not a results file of mnc test, or a torn one "
                        f"({error})") from error


VOLUME = [k / 10 for k in range(1, 10)]      # thresholds that mAP^r_vol is the mean over


def measure(dataset, detections: SetDetections, task: str, binarize: float, *,
            eleven_point: bool = True) -> evaluation.Figures:
    """What PASCAL's protocols say, each mean with the APs of all classes.

    mAP^r@0.5 and @0.7, mAP^r_vol (mean over 0.1 .. 0.9) and, on the tight boxes of the masks,
    mAP^b@0.5; for task 'det' mAP^b@0.5 of the boxes alone, as where the data set has no mask.
    """
    curves = curves_of(dataset, detections, task, binarize)
    result: evaluation.Figures = {}
    if "r" in curves:
        all_of_r = evaluation.figures(curves["r"], VOLUME, "r", eleven_point=eleven_point)
        result = {name: all_of_r[name] for t in (0.5, 0.7) for name in (f"mAP^r@{t}", f"AP^r@{t}")}
        columns = [all_of_r[f"AP^r@{t:g}"] for t in VOLUME]
        volume = {name: float(np.mean([c[name] for c in columns])) for name in curves["r"]}
        result |= {"mAP^r_vol": evaluation.mean_known(volume), "AP^r_vol": volume}
    return result | evaluation.figures(curves["b"], (0.5,), "b", eleven_point=eleven_point)


def curves_of(dataset, detections: SetDetections, task: str,
              binarize: float) -> dict[str, evaluation.ClassCurves]:
    """'r': curves at each threshold of VOLUME, where there are masks; 'b': at 0.5."""
    if task == "det" or not has_masks(dataset):
        boxes = [[boxes for boxes, _ in per_image] for per_image in detections]
        return {"b": evaluation.box_curves_by_class(dataset, boxes)}
    masks = evaluation.mask_curves_by_class(dataset, detections, VOLUME, binarize,
                                            progress=sys.stderr.isatty())
    tight = [[evaluation.tight_boxes(boxes, masks, binarize) for boxes, masks in per_image]
             for per_image in detections]
    return {"r": masks, "b": evaluation.box_curves_by_class(dataset, tight)}


def has_masks(dataset) -> bool:
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


def table(metrics: Mapping[str, object]) -> str:
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


