"""Detections in COCO's result format, ours and those of other systems; the truth in COCO's, too.

A result file is a JSON list of {"image_id", "category_id", "bbox": [x, y, w, h], "score",
"segmentation": RLE}. Numbers of images and categories are those of the data set
(mnc.data.dataset: image_ids, category_ids). pycocotools encodes the masks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from caffe.extend import atomic_path, need
from mnc.data.coco import COCO
from mnc.data.dataset import DataError, category_ids, image_ids
from mnc.evaluation.average_precision import Found, Masks, render, solid


def pycocotools(module: str) -> Any:
    """The submodule of that name: mask, coco or cocoeval."""
    return getattr(need(f"pycocotools.{module}", package="pycocotools",
                        feature="COCO's result format and metric"), module)


# --- writing -------------------------------------------------------------------------------------

def result_entries(dataset, detections: Sequence[Found], binarize: float) -> list[dict]:
    """COCO results of detections[class][image]; masks drawn by evaluation's `render`."""
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
    if not len(masks) or (isinstance(masks, np.ndarray) and not masks.size):      # boxes alone
        return [{}] * len(boxes)
    return [{"segmentation": run_lengths.encode(pasted(box, mask, size))}
            for box, mask in zip(*render(boxes, masks, binarize))]


def pasted(box: np.ndarray, mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: the mask (h, w) of a whole-pixel box in an image of this size, cut at its edge.

    box (x1, y1, x2, y2), of which the first corner and the mask's shape count.
    """
    canvas = np.zeros(size, bool)
    x, y = (int(v) for v in box[:2])
    top, left = max(-y, 0), max(-x, 0)
    window = canvas[y + top:y + mask.shape[0], x + left:x + mask.shape[1]]
    window[...] = mask[top:top + window.shape[0], left:left + window.shape[1]]
    return canvas


def to_xywh(box: np.ndarray) -> list[float]:
    """[x, y, width, height] of inclusive pixels, width = x2 - x1 + 1."""
    x1, y1, x2, y2 = (float(v) for v in box[:4])
    return [x1, y1, x2 - x1 + 1, y2 - y1 + 1]


def image_size(dataset, i: int) -> tuple[int, int]:
    """(H, W), from the annotation where it has it."""
    return tuple(dataset.annotation(i).size or dataset.image(i).shape[:2])


def write_results(path: str | Path, dataset, detections: Sequence[Found], binarize: float) -> None:
    """COCO's result file of detections[class][image]."""
    with atomic_path(Path(path)) as temporary:
        temporary.write_text(json.dumps(result_entries(dataset, detections, binarize)))


def truth(dataset, *, every_mask: bool = False) -> dict:
    """The data set as the content of COCO's instances_*.json; of COCO data what can be used of it.

    Areas and crowds are those it has; difficult instances become crowds. With every_mask an
    instance without a mask becomes a crowd, with a mask that fills its box.
    """
    images, categories, annotations = image_ids(dataset), category_ids(dataset), []
    about = []
    for i, number in enumerate(images):
        found, (height, width) = dataset.annotation(i), image_size(dataset, i)
        about.append({"id": number, "file_name": Path(dataset.image_path(i)).name,
                      "height": height, "width": width})
        rows = zip(found.boxes, found.labels, found.mask_list, found.instance_areas(),
                   found.ignored)
        for box, label, mask, area, ignored in rows:
            entry = {"id": len(annotations) + 1, "image_id": number, "bbox": to_xywh(box),
                     "category_id": categories[label - 1], "area": float(area),
                     "iscrowd": int(ignored)}
            if mask is None and every_mask:
                entry["iscrowd"], mask = 1, solid(box)
            if mask is not None:
                entry["segmentation"] = run_lengths.encode(pasted(box, mask, (height, width)))
            annotations.append(entry)
    named = [{"id": number, "name": name} for number, name in zip(categories, dataset.classes[1:])]
    return {"info": {"description": dataset.name}, "images": about, "annotations": annotations,
            "categories": named}


# --- reading -------------------------------------------------------------------------------------

def _is_number(value: object) -> bool:
    return isinstance(value, (int, float))


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


def read_entries(path: str | Path, dataset) -> list[dict]:
    """The entries of a result file, checked, in the data set's numbers, masks as RLE.

    A file may name an image by its number, its name or its file's name, a category by number or
    name, and give a mask as polygons.
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
                sizes[i] = list(image_size(dataset, i))
            entry["segmentation"] = _run_lengths(path, entry, sizes[i])
            entry.setdefault("bbox", pycocotools("mask").toBbox(entry["segmentation"]).tolist())
        entries.append(entry)
    return entries


def _checked(path: str | Path) -> list[dict]:
    try:
        entries = json.loads(Path(path).read_text())
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


def _run_lengths(path: str | Path, entry: Mapping, size: list[int]) -> dict:
    tools, code = pycocotools("mask"), entry["segmentation"]
    try:
        if isinstance(code, list):                                # polygons
            return tools.merge(tools.frPyObjects(code, *size))
        if list(code["size"]) != size:
            raise DataError(f"{path}: a mask of image {entry['image_id']!r} is for {code['size']} "
                            f"(height, width), the image has {size}")
        return tools.frPyObjects(code, *size) if isinstance(code["counts"], list) else dict(code)
    except DataError:
        raise
    except (TypeError, IndexError, OverflowError, ValueError) as error:
        raise DataError(f"{path}: a mask of image {entry['image_id']!r} is neither polygons nor "
                        f"RLE ({error})") from error


def _image_numbers(dataset) -> dict[object, tuple[int, int]]:
    """(index, number) of an image by all that may name it."""
    numbers = image_ids(dataset)
    files = [Path(dataset.image_path(i)).name for i in range(len(dataset))]
    return {key: (i, numbers[i]) for keys in (files, dataset.names, numbers)
            for i, key in enumerate(keys)}


def _category_numbers(dataset) -> dict[object, int]:
    numbers = category_ids(dataset)
    return dict(zip(dataset.classes[1:], numbers)) | {number: number for number in numbers}


def to_detections(dataset, entries: Sequence[Mapping]) -> list[list[tuple[np.ndarray, list]]]:
    """detections[class][image] = (boxes (n, 5), n masks (h, w) bool of their boxes).

    Where a detection has a mask its box is tight around it; detections without any mask have empty
    lists of masks.
    """
    places = {number: i for i, number in enumerate(image_ids(dataset))}
    labels = {number: c for c, number in enumerate(category_ids(dataset), 1)}
    found = [[([], []) for _ in places] for _ in dataset.classes]
    for entry in entries:
        boxes, masks = found[labels[entry["category_id"]]][places[entry["image_id"]]]
        if "segmentation" in entry:
            try:
                box, mask = _cropped(entry["segmentation"])
            except ValueError as error:         # runs that do not fill the image
                raise DataError(f"a mask of image {entry['image_id']}: {error}") from error
            masks.append(mask)
        else:
            x, y, w, h = entry["bbox"]
            box = [x, y, x + w - 1, y + h - 1]
        boxes.append([*box, entry["score"]])
        if masks and len(masks) != len(boxes):
            raise DataError(f"some detections of image {entry['image_id']} have no segmentation")
    return [[(np.array(boxes, float).reshape(-1, 5), masks) for boxes, masks in row]
            for row in found]


def _cropped(code: Mapping) -> tuple[list[int], np.ndarray]:
    """Tight box and mask of it; an empty mask is one pixel without anything."""
    mask = pycocotools("mask").decode(code).astype(bool)
    ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(ys):
        return [0, 0, 0, 0], np.zeros((1, 1), bool)
    return [xs[0], ys[0], xs[-1], ys[-1]], mask[ys[0]:ys[-1] + 1, xs[0]:xs[-1] + 1]
