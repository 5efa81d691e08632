"""What a path seems to be, for the messages of mnc.data.imdb: the name it would want for it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from caffe.extend import parse_json, read_text
from mnc.data.dataset import DataError
from mnc.data.folders import files_below, images_below
from mnc.data.formats import via3
from mnc.data.formats.mask_files import IMAGE_FOLDERS, MASK_FOLDERS
from mnc.data.formats.yolo import YAMLS

LOOKED_AT = 20              # files of a folder
MOST_BYTES = 200_000_000    # of a JSON that is opened for a message


def likely_name(text: str) -> str | None:
    """The name of the data set that this path, or PATH:SPLIT, seems to be; None: no idea."""
    for path in (Path(text), Path(text.rpartition(":")[0] or text)):
        if path.exists():
            return _of_file(path) if path.is_file() else _of_folder(path)
    return None


def _of_file(path: Path) -> str | None:
    ending = path.suffix.lower()
    if ending == ".json":
        kind = _kind_of_json(path)
        return {"coco": f"coco:{path}:{_images_of(path.parent)}",
                "via": f"via:{path}:{_images_of(path.parent)}",
                "labelme": f"labelme:{path.parent}"}.get(kind or "")
    if ending == ".xml":
        cvat = any(f"<{tag} " in read_text(path)[:MOST_BYTES] for tag in ("image", "track"))
        return f"cvat:{path}:{_images_of(path.parent)}" if cvat else None
    if ending == ".csv":
        table = "region_shape_attributes" in read_text(path)[:1000]
        return f"via:{path}:{_images_of(path.parent)}" if table else None
    return f"yolo:{path.parent}" if ending in (".yaml", ".yml") else None


def _of_folder(folder: Path) -> str | None:
    return next((name for name in _candidates(folder) if name), None)


def _candidates(folder: Path) -> Iterator[str | None]:
    lists = sorted(folder.glob("ImageSets/*/*.txt"))
    if (folder / "ImageSets").is_dir():
        yield f"voc:{folder}:{lists[0].stem if lists else 'SPLIT'}"
    if (folder / "inst").is_dir() and (folder / "img").is_dir():
        lists = sorted(folder.glob("*.txt"))
        yield f"sbd:{folder}:{lists[0].stem if lists else 'SPLIT'}"
    if any((folder / each).is_file() for each in YAMLS):
        yield f"yolo:{folder}"
    if any((folder / each).is_dir() for each in MASK_FOLDERS[:2]) or any(
            islice(folder.glob("*/masks/"), 1)):
        yield f"masks:{folder}"
    try:
        yield from map(_of_file, files_below(folder, ".json", ".csv", ".xml")[:LOOKED_AT])
        if any(path.stem != "classes" for path in files_below(folder, ".txt")[:LOOKED_AT]) \
                and images_below(folder):
            yield f"yolo:{folder}"
    except (DataError, OSError):
        return


def _kind_of_json(path: Path) -> str | None:
    """coco, via or labelme, by the keys."""
    try:
        content: Any = parse_json(path.read_bytes()) if path.stat().st_size < MOST_BYTES else None
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict):
        return None
    if "images" in content and "categories" in content:
        return "coco"
    if "shapes" in content:
        return "labelme"
    first = next(iter(content.values()), None)
    own = "_via_img_metadata" in content or via3.is_project(content) \
        or (isinstance(first, dict) and "regions" in first)
    return "via" if own else None


def _images_of(folder: Path) -> Path:
    """Where the images of an annotation file in this folder are likely to be."""
    places = [start / each for start in (folder, folder.parent) for each in IMAGE_FOLDERS]
    return next((place for place in places if place.is_dir()), folder)
