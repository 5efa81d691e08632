"""Labelme: a JSON beside each image, of version 3, 4 and 5.

    {"version": "5.4.1", "shapes": [{"label", "points": [[x, y], ...], "group_id", "shape_type",
     "flags", "mask"}, ...], "imagePath", "imageData": base64 or null, "imageHeight", "imageWidth"}

Shapes: polygon, rectangle, circle (centre, a point on it), mask (a PNG over its box); lines and
points have no inside and are left out. Shapes of one group_id and label are one instance. Sizes are
those of the upright photograph. An image without a JSON has not been looked at and is left out; one
with a JSON without shapes is known to be empty.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from caffe.extend import atomic_path, decode_map, parse_json
from mnc.data.dataset import DataError, Dataset
from mnc.data.folders import files_below, images_below
from mnc.data.formats.writing import copied_images, instances_of
from mnc.data.images import size_of
from mnc.data.labelled import (
    Faults,
    ImageFinder,
    LabelledImage,
    LabelledImages,
    Shape,
    ellipse,
    grouped,
    rectangle,
)
from mnc.masks.outlines import outlines

log = logging.getLogger("mnc")

NO_INSTANCE = ("__ignore__", "_background_")        # labels that labelme's own tools leave out
LINES = ("line", "linestrip", "point", "points")
VERSION = "5.4.1"                                   # that written files are like


def read(folder: Path, classes: Sequence[str] | None = None, *,
         name: str | None = None, cache: Path | None = None) -> LabelledImages:
    """The images of all labelme files in the folder and below it.

    cache: where images that are in the JSON alone are kept as files. Raises DataError where there
    is no such file.
    """
    finder, faults = ImageFinder(folder, images_below), Faults()
    files = files_below(folder, ".json")
    images = [image for file in files if (image := _image(file, finder, faults, cache))]
    if not images and not faults:
        raise DataError(f"{folder}: no labelme .json in it, nor below it ({len(files)} .json are "
                        "something else)")
    without = len(images_below(folder)) - len({str(image.file) for image in images})
    if without > 0:
        log.info("%s: %d images without a labelme .json are left out", folder, without)
    return LabelledImages(name or f"labelme:{folder}", images, classes, faults)


def _image(file: Path, finder: ImageFinder, faults: Faults,
           cache: Path | None) -> LabelledImage | None:
    """What a JSON says; None if it is no labelme file, or its image is nowhere."""
    try:
        content = parse_json(file.read_bytes())
    except (OSError, ValueError) as error:
        faults.setdefault("files that are not readable JSON", []).append(f"{file}: {error}")
        return None
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        return None
    path = (finder.find(str(content.get("imagePath") or file.stem), file.parent)
            or finder.find(file.stem, file.parent) or _embedded(content, cache))
    if path is None:
        faults.setdefault("files whose image is not found", []).append(
            f"{file}: {content.get('imagePath')}")
        return None
    size = _size(content)
    try:
        shapes = list(_shapes(content["shapes"], size or size_of(path), file, faults))
    except DataError as error:
        faults.setdefault("images that cannot be read", []).append(str(error))
        return None
    return LabelledImage(path, grouped(shapes, size or size_of(path)), size)


def _size(content: dict[str, Any]) -> tuple[int, int] | None:
    """(H, W) of the upright image; older files have null."""
    height, width = content.get("imageHeight"), content.get("imageWidth")
    whole = isinstance(height, int) and isinstance(width, int)
    return (height, width) if whole and min(height, width) > 0 else None    # type: ignore


def _embedded(content: dict[str, Any], cache: Path | None) -> Path | None:
    """The image in the JSON, as a file that is kept under the hash of its bytes."""
    data = content.get("imageData")
    if not isinstance(data, str) or not data or cache is None:
        return None
    try:
        pixels = base64.b64decode(data, validate=False)
    except (binascii.Error, ValueError):
        return None
    name = str(content.get("imagePath") or "").replace("\\", "/").rpartition("/")[2]
    stem = "".join(c if c.isalnum() or c in "-_" else "_" for c in Path(name).stem)[:80]
    digest = hashlib.sha256(pixels).hexdigest()[:16]
    path = cache / "labelme" / f"{stem}_{digest}{'.png' if pixels[:4] == PNG else '.jpg'}"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            Path(temporary).write_bytes(pixels)
    return path


PNG = b"\x89PNG"


def _shapes(given: Sequence[Any], size: tuple[int, int], file: Path,
            faults: Faults) -> Iterator[tuple[object, Shape]]:
    """(group, shape) of those that have an inside."""
    for count, each in enumerate(given, 1):
        where = f"shape {count}"
        try:
            label, kind = str(each["label"]), each.get("shape_type") or "polygon"
            if label in NO_INSTANCE:
                continue
            drawn = _drawn(kind, each, size)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError):
            faults.setdefault("shapes that are damaged", []).append(f"{file.name}: {where}")
            continue
        if drawn is None:
            faults.setdefault("lines and points, which have no inside", []).append(
                f"{file.name}: {where}")
            continue
        yield each.get("group_id"), Shape(label, drawn, where=where)


def _drawn(kind: str, shape: dict[str, Any], size: tuple[int, int]) -> Any:
    """Polygons or a mask (H, W); None for a line or points."""
    points = [(float(x), float(y)) for x, y in shape["points"]]
    if not all(map(math.isfinite, (v for point in points for v in point))):
        raise ValueError("coordinates that are no numbers")
    if kind in LINES:
        return None
    if kind == "mask":
        return _mask(shape["mask"], points, size)
    if kind == "circle":
        (x, y), (x1, y1) = points
        radius = math.hypot(x1 - x, y1 - y)
        return [ellipse((x, y), (radius, radius))]
    if kind == "rectangle" and len(points) == 2:
        return [rectangle(*points[0], *points[1])]
    return [[v for point in points for v in point]]


def _mask(data: str, points: Sequence[tuple[float, float]], size: tuple[int, int]) -> np.ndarray:
    """The PNG put where its box begins, cut at the border of the image."""
    found = decode_map(base64.b64decode(data), "mask")
    if found is None:
        raise ValueError("a mask with colours")
    left, top = (math.floor(min(values)) for values in zip(*points))
    whole = np.zeros(size, bool)
    part = found[max(-top, 0):, max(-left, 0):] > 0
    window = whole[max(top, 0):max(top, 0) + len(part), max(left, 0):max(left, 0) + part.shape[1]]
    window[...] = part[:window.shape[0], :window.shape[1]]
    return whole


# --- writing --------------------------------------------------------------------------------------

def write(dataset: Dataset, out: Path) -> None:
    """OUT/NAME.jpg and OUT/NAME.json of each image: masks as polygons, boxes as rectangles.

    An instance in several pieces is as many polygons of one group_id. Raises OSError.
    """
    for i, image in enumerate(copied_images(dataset, out)):
        found = dataset.annotation(i)
        shapes: list[dict[str, Any]] = []
        for group, (label, mask, box) in enumerate(instances_of(found, dataset.classes), 1):
            polygons = [np.reshape(p, (-1, 2)).tolist() for p in outlines(mask, box[:2])] \
                if mask is not None else [[[box[0], box[1]], [box[2] + 1, box[3] + 1]]]
            shapes += [{"label": label, "points": points, "shape_type":
                        "rectangle" if mask is None else "polygon", "flags": {}, "description": "",
                        "group_id": group if len(polygons) > 1 else None} for points in polygons]
        height, width = found.size or size_of(image)
        content: dict[str, Any] = {"version": VERSION, "flags": {}, "shapes": shapes,
                                   "imagePath": image.name, "imageData": None,
                                   "imageHeight": height, "imageWidth": width}
        with atomic_path(image.with_suffix(".json")) as temporary:
            Path(temporary).write_text(json.dumps(content, ensure_ascii=False, indent=1),
                                       encoding="utf-8")
