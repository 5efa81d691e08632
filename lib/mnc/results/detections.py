"""The file of detections that a test leaves behind, and results with what is known of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from caffe.extend import atomic_path, read_arrays
from mnc.data.dataset import DataError, Dataset
from mnc.instances import Detections, SetDetections
from mnc.tasks import Task


@dataclass(frozen=True)
class Saved:
    """Results on a data set; entries: COCO's, if they were read as such."""

    detections: SetDetections
    task: Task                  # TASKS["det"] where they are boxes alone
    entries: Sequence[dict] | None = None
    about: Mapping[str, object] = field(default_factory=dict)


def boxes_alone(detections: SetDetections) -> bool:
    """Whether no detection has a mask."""
    return not any(np.size(mask) for row in detections for found in row for mask in found.masks)


def save_detections(path: Path, dataset: Dataset, detections: SetDetections,
                    about: Mapping[str, object] | None = None) -> None:
    """One compressed .npz, which numpy.load reads without pickle.

    Row by row `boxes` (n, 5), `masks` (n, S, S), `labels` (indices into `classes`), `images`
    (indices into `names`); `about`: JSON of what made it (mnc.results.origin).
    """
    rows = [(boxes, masks, np.full(len(boxes), c), np.full(len(boxes), i))
            for c, per_image in enumerate(detections) for i, (boxes, masks) in enumerate(per_image)]
    boxes, masks, labels, images = (np.concatenate(column) for column in zip(*rows))
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, boxes=boxes, masks=masks, labels=labels, images=images,
                            names=np.array(dataset.names), classes=np.array(dataset.classes),
                            about=np.array(json.dumps(about or {})))


def load_detections(path: Path) -> tuple[SetDetections, list[str]]:
    """(detections[c][i], names of the images) as `save_detections` wrote them.

    Raises DataError if the file is torn or another one.
    """
    with _opened(path) as file:
        _check(file)
        boxes, masks, names = file["boxes"], file["masks"], file["names"].tolist()
        classes, place = len(file["classes"]), file["labels"] * len(names) + file["images"]
    order = np.argsort(place, kind="stable")
    ends = np.searchsorted(place[order], np.arange(1, classes * len(names)))
    rows = np.split(order, ends)                            # class by class, image by image
    found = [Detections(boxes[r], masks[r]) for r in rows]
    return [found[c * len(names):(c + 1) * len(names)] for c in range(classes)], names


def about_detections(path: Path) -> dict[str, object]:
    """What `save_detections` was told about them; empty where that was nothing.

    Raises ValueError where that is no JSON of names.
    """
    with _opened(path) as file:
        about = json.loads(str(file["about"])) if "about" in file else {}
        if not isinstance(about, dict):
            raise ValueError(f"about: {about!r}")
        return about


def _check(file: Mapping[str, np.ndarray]) -> None:
    """ValueError unless the columns belong together."""
    count = len(file["boxes"])
    if file["boxes"].shape != (count, 5) or file["masks"].ndim != 3 \
            or file["boxes"].dtype.kind + file["masks"].dtype.kind != "ff":
        raise ValueError(f"boxes {file['boxes'].shape} and masks {file['masks'].shape}, where "
                         "(n, 5) and (n, S, S) are expected")
    for name, of in (("labels", "classes"), ("images", "names")):
        numbers, known = file[name], file[of]
        if numbers.shape != (count,) or numbers.dtype.kind not in "iu" or known.ndim != 1:
            raise ValueError(f"{name} of shape {numbers.shape}, {of} of shape {known.shape}")
        if count and not 0 <= numbers.min() <= numbers.max() < len(known):
            raise ValueError(f"{name} {numbers.min()} to {numbers.max()}, of {len(known)} {of}")
    if len(file["masks"]) != count:
        raise ValueError(f"{len(file['masks'])} masks for {count} boxes")


@contextmanager
def _opened(path: Path) -> Iterator[Mapping[str, np.ndarray]]:
    """The arrays of a results file; DataError if it is torn or another file."""
    try:
        yield read_arrays(path)
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path}: not a results file of mnc test, or a torn one "
                        f"({error})") from error
