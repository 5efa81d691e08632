"""Any data set as a COCO annotation file. Its reader is mnc.data.coco."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from caffe.extend import atomic_path, parse_json
from mnc.data.coco import COCO
from mnc.data.dataset import Dataset, Subset, category_ids, image_ids
from mnc.data.formats.writing import copied_images
from mnc.data.images import size_of
from mnc.data.names import common_folder, relative_files
from mnc.masks import run_lengths
from mnc.masks.outlines import outlines
from mnc.masks.rendering import pasted


def write(dataset: Dataset, out: Path) -> None:
    """OUT/images and OUT/annotations.json. Raises OSError."""
    images = list(copied_images(dataset, out / "images"))
    files = [image.relative_to(out / "images").as_posix() for image in images]
    write_json(out / "annotations.json", content(dataset, files))


def write_json(path: Path, value: dict[str, Any]) -> None:
    """The file, whole or not at all. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        Path(temporary).write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def content(dataset: Dataset, files: Sequence[str]) -> dict[str, Any]:
    """Images under these names, categories, annotations; of a COCO file those that it has.

    Masks are polygons that are drawn as the same masks again, those of crowds run-length codes;
    difficult instances become crowds.
    """
    own = _own(dataset)
    if own is not None:
        return own
    numbers, categories = image_ids(dataset), category_ids(dataset)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for i, file in enumerate(files):
        found = dataset.annotation(i)
        size = found.size or size_of(dataset.image_path(i))
        images.append({"id": numbers[i], "file_name": file, "height": size[0], "width": size[1]})
        for box, label, mask, area, crowd in zip(
                found.boxes.tolist(), found.labels, found.mask_list, found.instance_areas(),
                found.ignored):
            x1, y1, x2, y2 = box
            entry = {"id": len(annotations) + 1, "image_id": numbers[i],
                     "category_id": categories[label - 1], "iscrowd": int(crowd),
                     "area": float(area), "bbox": [x1, y1, x2 - x1 + 1, y2 - y1 + 1]}
            if mask is not None:
                entry["segmentation"] = run_lengths.encode(pasted(box, mask, size)) if crowd \
                    else outlines(mask, box)
            annotations.append(entry)
    named = [{"id": n, "name": name} for n, name in zip(categories, dataset.classes[1:])]
    return {"info": {"description": dataset.name}, "images": images, "categories": named,
            "annotations": annotations}


def files_and_folder(dataset: Dataset) -> tuple[list[str], str]:
    """The name of each image in a COCO file, and the folder that the names are relative to."""
    if isinstance(dataset, COCO):
        return dataset.files, str(dataset.folder)
    paths = [dataset.image_path(i) for i in range(len(dataset))]
    folder = common_folder(paths)
    return relative_files(paths), os.path.relpath(folder) if _is_near(folder) else folder


def _is_near(folder: str) -> bool:
    return os.path.commonpath([folder, os.getcwd()]) == os.getcwd()


def _own(dataset: Dataset) -> dict[str, Any] | None:
    """What a COCO file says of some of its images, as it stands there."""
    whole = dataset.whole if isinstance(dataset, Subset) else None
    if not isinstance(whole, COCO):
        return None
    given = parse_json(whole.file.read_bytes())
    kept = {str(number) for number in image_ids(dataset)}
    return {**given,
            "images": [each for each in given["images"] if str(each["id"]).strip() in kept],
            "annotations": [each for each in given.get("annotations") or ()
                            if isinstance(each, dict)
                            and str(each.get("image_id")).strip() in kept]}
