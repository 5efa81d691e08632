"""Results of a test that lie in a file, ours or another system's, and what they measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mnc.data.dataset import DataError
from mnc.evaluation.average_precision import Figures, Found
from mnc.evaluation.coco import coco_metric, entries_metric
from mnc.results import coco as coco_results
from mnc.results import detections as results
from mnc.results import voc as result_files
from mnc.results.origin import data_origin

METRICS = ("voc", "coco")


@dataclass(frozen=True)
class Saved:
    """detections[class][image]; task 'det' where they are boxes alone; entries: COCO's, if read."""

    detections: Sequence[Found]
    task: str
    entries: Sequence[dict] | None = None
    about: Mapping[str, object] = field(default_factory=dict)


def load(path: str | Path, dataset) -> Saved:
    """Of this data set: a detections_*.npz, a COCO result file (.json), a folder of VOC's files."""
    path = Path(path)
    if path.is_dir():
        return Saved(result_files.read_voc_det(path, dataset), "det")
    if not path.is_file():
        raise DataError(f"{path}: no such results file")
    if path.suffix == ".json":
        entries = coco_results.read_entries(path, dataset)
        boxes_only = not any("segmentation" in entry for entry in entries)
        return Saved(coco_results.to_detections(dataset, entries), "det" if boxes_only else "seg",
                     entries)
    if path.suffix != ".npz":
        raise DataError(f"{path}: results are read from detections_*.npz, a COCO result .json or "
                        "a folder of VOC detection files")
    detections, names = results.load_detections(path)
    about = results.about_detections(path)
    check_data(path, dataset, names, len(detections), about)
    boxes_only = all(not masks.size for row in detections for boxes, masks in row if len(boxes))
    return Saved(detections, about.get("task") or ("det" if boxes_only else "seg"), None, about)


def check_data(path: Path, dataset, names: Sequence[str], classes: int,
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


def figures_of(saved: Saved, dataset, binarize: float, metrics: Sequence[str] = ("voc",), *,
               eleven_point: bool = True) -> Figures:
    """PASCAL's figures ('voc') and COCO's ('coco')."""
    found: Figures = {}
    if "voc" in metrics:
        found |= results.measure(dataset, saved.detections, saved.task, binarize,
                                 eleven_point=eleven_point)
    if "coco" in metrics:
        kinds = ("r", "b") if saved.task != "det" and results.has_masks(dataset) else ("b",)
        found |= (coco_metric(dataset, saved.detections, binarize, kinds=kinds)
                  if saved.entries is None else entries_metric(dataset, saved.entries, kinds=kinds))
    return found
