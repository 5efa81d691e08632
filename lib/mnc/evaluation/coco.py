"""COCO's metric through pycocotools: AP over the thresholds .5 to .95, of masks and of boxes."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Sequence

import numpy as np

from mnc.data.dataset import Dataset, category_ids, image_ids
from mnc.evaluation.average_precision import Figures, mean_known
from mnc.instances import SetDetections
from mnc.masks import run_lengths
from mnc.results.coco import result_entries, truth

KINDS = {"r": "segm", "b": "bbox"}           # of masks (regions), of boxes
SIZES = {"all": "", "small": " small", "medium": " medium", "large": " large"}


STANDARD = (1, 10, 100)                      # detections of a class in an image that count


def coco_metric(dataset: Dataset, detections: SetDetections, binarize: float = 0.4, *,
                kinds: Sequence[str] = ("r", "b"), most: int = STANDARD[-1]) -> Figures:
    """COCO's figures of detections[class][image] = (boxes (n, 5), masks).

    For each kind ('r' of masks, 'b' of boxes): 'COCO mAP^r@[.5:.95]' with 'COCO AP^r@[.5:.95]' by
    class; 'COCO mAP^r@.5', '@.75'; ' small', ' medium', ' large'; 'COCO AR^r' with 1, 10 and 100
    detections an image, and of each size. nan where there is nothing to be found.

    most: results an image may have. COCO counts 100; where it may have more, mAP, AP and AR with
    all of them stand beside, ' of MOST'.
    """
    return entries_metric(dataset, result_entries(dataset, detections, binarize), kinds=kinds,
                          most=most)


def entries_metric(dataset: Dataset, entries: Sequence[dict], *,
                   kinds: Sequence[str] = ("r", "b"), most: int = STANDARD[-1]) -> Figures:
    """The same of the entries of a COCO result file."""
    with contextlib.redirect_stdout(io.StringIO()):               # pycocotools prints its progress
        return {name: value for kind in kinds
                for name, value in _measured(dataset, entries, kind, most).items()}


def load(content: dict):
    """A pycocotools COCO object of this content."""
    from pycocotools.coco import COCO

    coco = COCO()
    coco.dataset = content
    coco.createIndex()
    return coco


def _measured(dataset: Dataset, entries: Sequence[dict], kind: str, most: int) -> Figures:
    from pycocotools.cocoeval import COCOeval

    known = load(_renumbered(dataset, truth(dataset, every_mask=kind == "r")))
    found = _results(known, _renumbered(dataset, {"annotations": entries})["annotations"], kind)
    evaluator = COCOeval(known, found, KINDS[kind])
    evaluator.params.maxDets = [*STANDARD, *[most] * (most > STANDARD[-1])]
    evaluator.evaluate()
    evaluator.accumulate()
    precision = evaluator.eval["precision"]         # (thresholds, recalls, classes, sizes, maxDets)
    recall = evaluator.eval["recall"]               # (thresholds, classes, sizes, maxDets)
    result = _standard(dataset, precision[..., :3], recall[..., :3], kind)
    if most > STANDARD[-1]:
        by_class = _by_class(dataset, precision)
        result |= {f"COCO mAP^{kind}@[.5:.95] of {most}": mean_known(by_class),
                   f"COCO AP^{kind}@[.5:.95] of {most}": by_class,
                   f"COCO AR^{kind} of {most}": _mean(recall[:, :, 0, -1])}
    return result


def _by_class(dataset: Dataset, precision: np.ndarray) -> dict[str, float]:
    """AP of each class, over all sizes, with the most detections."""
    return {name: _mean(precision[:, :, c, 0, -1]) for c, name in enumerate(dataset.classes[1:])}


def _standard(dataset: Dataset, precision: np.ndarray, recall: np.ndarray, kind: str) -> Figures:
    """COCO's own figures; the last axis of both arrays is that of STANDARD.

    precision (thresholds, recalls, classes, sizes, 3), recall (thresholds, classes, sizes, 3).
    """
    by_class = _by_class(dataset, precision)
    whole = f"COCO mAP^{kind}@[.5:.95]"
    result: Figures = {whole: mean_known(by_class), f"COCO AP^{kind}@[.5:.95]": by_class}
    for t, name in ((0, ".5"), (5, ".75")):
        result[f"COCO mAP^{kind}@{name}"] = _mean(precision[t, :, :, 0, -1])
    for a, size in list(enumerate(SIZES.values()))[1:]:
        result[whole + size] = _mean(precision[:, :, :, a, -1])
    for m, most in enumerate(STANDARD):
        result[f"COCO AR^{kind} of {most}"] = _mean(recall[:, :, 0, m])
    for a, size in list(enumerate(SIZES.values()))[1:]:
        result[f"COCO AR^{kind} of 100{size}"] = _mean(recall[:, :, a, -1])
    return result


def _renumbered(dataset: Dataset, content: dict) -> dict:
    """The content with images and categories counted from 1: pycocotools takes ids for floats."""
    images = {number: k for k, number in enumerate(image_ids(dataset), 1)}
    categories = {number: k for k, number in enumerate(category_ids(dataset), 1)}
    numbers = {"image_id": images, "category_id": categories}
    kinds = {"images": images, "categories": categories}
    result = {key: [{**each, "id": known[each["id"]]} for each in content.get(key, ())]
              for key, known in kinds.items()}
    return result | {"annotations": [
        {**each, **{key: known[each[key]] for key, known in numbers.items()}}
        for each in content["annotations"]]}


def _results(known, entries: Sequence[dict], kind: str):
    """Detections as pycocotools wants them, which its loadRes would take from a list."""
    prepared = []
    for number, entry in enumerate(entries, 1):
        entry = {**entry, "id": number, "iscrowd": 0}
        if kind == "r":
            entry["area"] = float(run_lengths.area(entry["segmentation"]))
        else:
            entry["area"] = entry["bbox"][2] * entry["bbox"][3]
        prepared.append(entry)
    content = copy.copy(known.dataset)
    content["annotations"] = prepared
    return load(content)


def _mean(values: np.ndarray) -> float:
    """The mean of what pycocotools could measure; it marks the rest by -1."""
    values = values[values > -1]
    return float(values.mean()) if values.size else float("nan")
