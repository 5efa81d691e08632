"""Reading the results of a test, ours or another system's, from any form of file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mnc.data.dataset import DataError, Dataset
from mnc.results import coco as coco_results
from mnc.results import detections as results
from mnc.results.detections import Saved
from mnc.results.origin import data_origin
from mnc.results.voc import read_voc_det
from mnc.tasks import TASKS


def load(path: str | Path, dataset: Dataset) -> Saved:
    """Of this data set: a detections_*.npz, a COCO result file (.json), a folder of VOC's files.

    Raises DataError where it is none of these, damaged, or of other images or classes.
    """
    path = existing(path)
    if path.is_dir():
        return Saved(read_voc_det(path, dataset), TASKS["det"])
    if path.suffix == ".json":
        entries = coco_results.read_entries(path, dataset)
        masks = any("segmentation" in entry for entry in entries)
        return Saved(coco_results.to_detections(dataset, entries),
                     TASKS["seg" if masks else "det"], entries)
    if path.suffix != ".npz":
        raise DataError(f"{path}: results are read from detections_*.npz, a COCO result .json or "
                        "a folder of VOC detection files")
    detections, names = results.load_detections(path)
    about = results.about_detections(path)
    check_data(path, dataset, names, len(detections), about)
    known = TASKS.get(str(about.get("task")))
    guess = TASKS["det" if results.boxes_alone(detections) else "seg"]
    return Saved(detections, known or guess, None, about)


def existing(path: str | Path) -> Path:
    """The path of results; raises DataError if nothing is there."""
    if not Path(path).exists():
        raise DataError(f"{path}: no such results file")
    return Path(path)


def check_data(path: Path, dataset: Dataset, names: Sequence[str], classes: int,
               about: Mapping[str, object]) -> None:
    """DataError unless the results are of these images and classes."""
    here = data_origin(dataset)
    known = about.get("images_sha256")
    if known == here["images_sha256"] or (
            known is None and list(names) == list(dataset.names)
            and classes == len(dataset.classes)):
        return
    if list(names) == list(dataset.names) and classes == len(dataset.classes):
        raise DataError(f"{path}: these are results on images of the same names, but other files "
                        f"or other classes than those of {dataset.name}")
    raise DataError(f"{path}: these are results on {about.get('imdb', 'another data set')} "
                    f"({len(names)} images, {classes - 1} classes), not on {dataset.name} "
                    f"({len(dataset)} images, {len(dataset.classes) - 1} classes); name the data "
                    "set they are of by --imdb")
