"""Detections in COCO's result format, ours and those of other systems; the truth in COCO's, too.

A result file is a JSON list of {"image_id", "category_id", "bbox": [x, y, w, h], "score",
"segmentation": RLE}. Numbers of images and categories are those of the data set
(mnc.data.dataset: image_ids, category_ids). Masks pass mnc.masks.run_lengths.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from caffe.extend import atomic_path, parse_json
from mnc.data.dataset import DataError, Dataset, category_ids, image_ids
from mnc.instances import Detections, Masks, SetDetections
from mnc.masks import run_lengths
from mnc.masks.rendering import pasted, render, solid

# --- writing -------------------------------------------------------------------------------------

def result_entries(dataset: Dataset, detections: SetDetections, binarize: float) -> list[dict]:
    """COCO results of detections[class][image]; masks drawn by mnc.masks.rendering."""
    images, categories = image_ids(dataset), category_ids(dataset)
    entries = []
    for c, per_image in list(enumerate(detections))[1:]:
        for i, (boxes, masks) in enumerate(per_image):
            about = {"image_id": images[i], "category_id": categories[c - 1]}
            size = image_size(dataset, i) if len(boxes) else (0, 0)
            for box, mask in zip(boxes, _full_size(boxes, masks, binarize, size)):
                entries.append({**about, "bbox": to_xywh(box), "score": float(box[4]), **mask})
    return entries


def _full_size(boxes: np.ndarray, masks: Masks, binarize: float,
               size: tuple[int, int]) -> list[dict]:
    if not any(np.size(mask) for mask in masks):                                  # boxes alone
        return [{}] * len(boxes)
    return [{"segmentation": run_lengths.encode(pasted(box, mask, size))}
            for box, mask in zip(*render(boxes, masks, binarize))]


def to_xywh(box: np.ndarray) -> list[float]:
    """[x, y, width, height] of inclusive pixels, width = x2 - x1 + 1.

    box of the shape (4,) or longer.
    """
    x1, y1, x2, y2 = (float(v) for v in box[:4])
    return [x1, y1, x2 - x1 + 1, y2 - y1 + 1]


def image_size(dataset: Dataset, i: int) -> tuple[int, int]:
    """(H, W), from the annotation where it has it."""
    return tuple(dataset.annotation(i).size or dataset.image(i).shape[:2])


def write_results(path: str | Path, dataset: Dataset, detections: SetDetections,
                  binarize: float) -> None:
    """COCO's result file of detections[class][image]."""
    with atomic_path(Path(path)) as temporary:
        temporary.write_text(json.dumps(result_entries(dataset, detections, binarize)))


def truth(dataset: Dataset, *, every_mask: bool = False) -> dict:
    """The data set as the content of COCO's instances_*.json; of COCO data what can be used of it.

    Areas and crowds are those it has; difficult instances become crowds. With every_mask an
    instance without a mask becomes a crowd, with a mask that fills its box.
    """
    images, categories = image_ids(dataset), category_ids(dataset)
    sizes = [image_size(dataset, i) for i in range(len(dataset))]
    about = [{"id": number, "file_name": Path(dataset.image_path(i)).name,
              "height": height, "width": width}
             for i, (number, (height, width)) in enumerate(zip(images, sizes))]
    own = getattr(dataset, "entries", None)         # COCO data has annotations in this form
    annotations = list(own() if own else _entries(dataset, sizes))
    places = {number: i for i, number in enumerate(images)}
    for entry in annotations:
        if every_mask and "segmentation" not in entry:
            x, y, w, h = entry["bbox"]
            box = np.array([x, y, x + w - 1, y + h - 1])
            whole = pasted(box, solid(box), sizes[places[entry["image_id"]]])
            entry.update(iscrowd=1, segmentation=run_lengths.encode(whole))
    named = [{"id": number, "name": name} for number, name in zip(categories, dataset.classes[1:])]
    return {"info": {"description": dataset.name}, "images": about, "annotations": annotations,
            "categories": named}


def _entries(dataset: Dataset, sizes: Sequence[tuple[int, int]]) -> Iterator[dict]:
    """Annotations of a data set that is not COCO's, in COCO's form."""
    images, categories, count = image_ids(dataset), category_ids(dataset), 0
    for i, (number, size) in enumerate(zip(images, sizes)):
        found = dataset.annotation(i)
        rows = zip(found.boxes, found.labels, found.mask_list, found.instance_areas(),
                   found.ignored)
        for box, label, mask, area, ignored in rows:
            count += 1
            entry = {"id": count, "image_id": number, "bbox": to_xywh(box),
                     "category_id": categories[label - 1], "area": float(area),
                     "iscrowd": int(ignored)}
            if mask is not None:
                entry["segmentation"] = run_lengths.encode(pasted(box, mask, size))
            yield entry


# --- reading -------------------------------------------------------------------------------------

def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and abs(value) <= MOST


MOST = 1e12                     # of a score or a coordinate

# What the values of a detection must be like
FORMS: dict[str, Callable[[Any], bool]] = {
    "image_id": lambda value: isinstance(value, (int, float, str)),
    "category_id": lambda value: isinstance(value, (int, float, str)),
    "score": _is_number,
    "bbox": lambda value: isinstance(value, list) and len(value) == 4 and all(map(_is_number,
                                                                                  value)),
    "segmentation": lambda value: isinstance(value, list) or (
        isinstance(value, dict) and {"size", "counts"} <= set(value)),
}


def read_entries(path: str | Path, dataset: Dataset) -> list[dict]:
    """The entries of a result file, checked, in the data set's numbers, masks as RLE.

    A file may name an image by its number, its name or its file's name, a category by number or
    name, and give a mask as polygons.

    Raises DataError with the number of the entry that does not fit.
    """
    images, categories = _image_numbers(dataset), _category_numbers(dataset)
    sizes = {}
    entries = []
    for number, entry in enumerate(_checked(path), 1):
        for kind, known in (("image_id", images), ("category_id", categories)):
            if entry[kind] not in known:
                raise DataError(f"{path}: detection {number}: {kind} {entry[kind]!r} is not in "
                                f"{dataset.name}")
        i, image = images[entry["image_id"]]
        entry = {**entry, "image_id": image, "category_id": categories[entry["category_id"]]}
        if "segmentation" in entry:
            if i not in sizes:
                sizes[i] = image_size(dataset, i)
            mask = _mask(f"{path}: detection {number}", entry, sizes[i])
            del entry["segmentation"]
            if mask:
                entry["segmentation"] = mask.code
                entry.setdefault("bbox", mask.box)
        entries.append(entry)
    return entries


def _checked(path: str | Path) -> list[dict]:
    try:
        entries = parse_json(Path(path).read_bytes())
    except ValueError as error:
        raise DataError(f"{path}: not JSON: {error}") from error
    if not isinstance(entries, list):
        raise DataError(f"{path}: a COCO result file is a list of detections, this is a "
                        f"{type(entries).__name__}")
    for number, entry in enumerate(entries, 1):
        keys = set(entry) if isinstance(entry, Mapping) else set()
        missing = {"image_id", "category_id", "score"} - keys
        if missing or not keys & {"bbox", "segmentation"}:
            raise DataError(f"{path}: detection {number} lacks "
                            f"{', '.join(sorted(missing)) or 'bbox and segmentation'}")
        wrong = [key for key, right in FORMS.items() if key in entry and not right(entry[key])]
        if wrong:
            raise DataError(f"{path}: detection {number}: {wrong[0]} cannot be "
                            f"{str(entry[wrong[0]])[:80]}")
    return entries


def _mask(where: str, entry: Mapping, size: tuple[int, int]) -> run_lengths.Mask | None:
    """The mask of a detection, None if it has but a box."""
    given = entry.get("segmentation")
    try:
        mask = run_lengths.checked(given, size, entry.get("bbox"))
    except run_lengths.MaskError as fault:
        if str(fault) == run_lengths.EMPTY:                 # found, but of no pixel
            return run_lengths.Mask(run_lengths.packed(np.zeros(size, bool)), 0, [0, 0, 0, 0])
        what = f"comes {fault}"
        if isinstance(given, dict) and given["size"] != list(size):
            what = f"is for {given['size']} (height, width), the image has {list(size)}"
        raise DataError(f"{where}: a mask of image {entry['image_id']!r} {what:.300}") from None
    if mask is None and "bbox" not in entry:
        raise DataError(f"{where}: a mask of image {entry['image_id']!r} is neither polygons nor "
                        "RLE")
    return mask


def _image_numbers(dataset: Dataset) -> dict[object, tuple[int, int]]:
    """(index, number) of an image by all that may name it."""
    numbers = image_ids(dataset)
    files = [Path(dataset.image_path(i)).name for i in range(len(dataset))]
    return {key: (i, numbers[i]) for keys in (files, dataset.names, numbers)
            for i, key in enumerate(keys)}


def _category_numbers(dataset: Dataset) -> dict[object, int]:
    numbers = category_ids(dataset)
    return dict(zip(dataset.classes[1:], numbers)) | {number: number for number in numbers}


def to_detections(dataset: Dataset, entries: Sequence[Mapping]) -> SetDetections:
    """detections[class][image] = (boxes (n, 5), n masks (h, w) bool of their boxes).

    Where a detection has a mask its box is tight around it; detections without any mask have empty
    lists of masks.

    Raises DataError where only some of an image have a mask.
    """
    places = {number: i for i, number in enumerate(image_ids(dataset))}
    labels = {number: c for c, number in enumerate(category_ids(dataset), 1)}
    found: list[list[tuple[list, list]]] = [[([], []) for _ in places] for _ in dataset.classes]
    for entry in entries:
        boxes, masks = found[labels[entry["category_id"]]][places[entry["image_id"]]]
        if "segmentation" in entry:
            nothing = [0, 0, 0, 0], np.zeros((1, 1), bool)
            box, mask = run_lengths.cropped(entry["segmentation"]) or nothing
            masks.append(mask)
        else:
            x, y, w, h = entry["bbox"]
            box = [x, y, x + w - 1, y + h - 1]
        boxes.append([*box, entry["score"]])
        if masks and len(masks) != len(boxes):
            raise DataError(f"some detections of image {entry['image_id']} have no segmentation")
    return [[Detections(np.array(boxes, float).reshape(-1, 5), masks) for boxes, masks in row]
            for row in found]
