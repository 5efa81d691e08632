"""YOLO's text files: a line an instance, "CLASS x1 y1 x2 y2 ..." in shares of width and height.

    data.yaml (path, train, val, test: folders or lists; names) or classes.txt, obj.names
    images/train/NAME.jpg   labels/train/NAME.txt     (or NAME.txt beside the image)

Classes count from 0. A line of four numbers is a box: centre x, y, width, height; it has no mask.
Instances in several pieces are one polygon with lines there and back, as the tools that train on
such files write it. An image without a .txt, or with an empty one, has no instances.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from caffe.extend import parse_yaml, read_text
from mnc.data.classes import line_names
from mnc.data.dataset import DataError, Dataset
from mnc.data.folders import images_below
from mnc.data.formats.writing import copied_images, instances_of
from mnc.data.images import size_of
from mnc.data.labelled import Faults, LabelledImage, LabelledImages, Shape
from mnc.masks.outlines import merged, outlines

log = logging.getLogger("mnc")

SPLITS = ("train", "val", "test")
YAMLS = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
NAME_LISTS = ("classes.txt", "labels/classes.txt", "obj.names", "_darknet.labels")
PLACES = 2                  # of pixels: half ones must come back as such
NO_LABELS = ("classes.txt", "notes.txt", "requirements.txt", "readme.txt")


def read(folder: Path, classes: Sequence[str] | None = None, *, split: str | None = None,
         name: str | None = None) -> LabelledImages:
    """All images of the folder, or of a split (train, val, test) that data.yaml names.

    folder: may be the data.yaml itself. Raises DataError where there is no image, and for a split
    that is not there.
    """
    yaml_file = folder if folder.is_file() else next(
        (folder / each for each in YAMLS if (folder / each).is_file()), None)
    about = _about(yaml_file) if yaml_file else {}
    root = folder.parent if folder.is_file() else folder
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    images = _images(root, about, split)
    if not images:
        raise DataError(f"{folder}: no image in it" + (f", of split {split}" if split else ""))
    names = _names(root, about) or list(classes or ())
    faults = Faults()
    found = [LabelledImage(path, _shapes(path, names, faults)) for path in images]
    if not any(_label_file(path) for path in images):
        raise DataError(f"{folder}: none of its {len(images)} images has a .txt in labels/, or "
                        "beside it")
    if not names:
        number = 1 + max((int(shape.label) for image in found for shape in image.shapes), default=0)
        log.warning("%s: no names of the classes in data.yaml or classes.txt; they are called by "
                    "their numbers", folder)
        names = [str(k) for k in range(number)]
    label = f"yolo:{folder}" + (f":{split}" if split else "")
    return LabelledImages(name or label, found, names, faults)


def _about(file: Path) -> dict[str, Any]:
    try:
        found = parse_yaml(read_text(file))
    except ValueError as error:
        raise DataError(f"{file}: not valid YAML: {error}") from error
    if not isinstance(found, dict):
        raise DataError(f"{file}: expected lines such as `train: images/train` and `names:`")
    return found


def _names(root: Path, about: Mapping[str, Any]) -> list[str]:
    """Of data.yaml (a list, or {0: name}), else of a list of names."""
    given = about.get("names")
    if isinstance(given, dict):
        if set(given) != set(range(len(given))):
            raise DataError(f"{root}: the numbers of names in data.yaml are {list(given)}; they "
                            f"must be 0 to {len(given) - 1}")
        return [str(given[k]) for k in range(len(given))]
    if isinstance(given, list):
        return [str(each) for each in given]
    found = next((root / each for each in NAME_LISTS if (root / each).is_file()), None)
    lines = read_text(found).split("\n") if found else []
    return [line.strip() for line in lines if line.strip()]


def _images(root: Path, about: Mapping[str, Any], split: str | None) -> list[Path]:
    """Of a split, or all splits; without a data.yaml that names any, all in the folder."""
    wanted = [split] if split else [each for each in SPLITS if about.get(each)]
    places = [place for each in wanted for place in _places(about.get(each))]
    base = root / str(about.get("path") or ".")
    base = base if base.is_dir() else root
    if split and not places:
        folders = [root / "images" / split, root / split / "images", root / split]
        places = [str(place) for place in folders if place.is_dir()][:1]
        if not places:
            raise DataError(f"{root}: no split {split!r}: data.yaml does not name it, and there is "
                            f"no {root / 'images' / split}")
    if not places:
        return images_below(root)
    return list(dict.fromkeys(path for place in places
                              for path in _images_at(base, root, str(place))))


def _places(given: Any) -> list[Any]:
    return given if isinstance(given, list) else [given] if given else []


def _images_at(base: Path, root: Path, place: str) -> list[Path]:
    """A folder of images, or a list of their paths; some tools write ../train for ./train."""
    without = place.removeprefix("../")
    for start, each in ((base, place), (root, place), (base, without), (root, without)):
        path = Path(os.path.normpath(start / each))
        if path.is_dir():
            return images_below(path)
        if path.is_file() and path.suffix == ".txt":
            lines = (line.strip() for line in read_text(path).split("\n"))
            return [Path(os.path.normpath(path.parent / line)) for line in lines if line]
    raise DataError(f"{root}: data.yaml names {place}, which is not there")


def _label_file(image: Path) -> Path | None:
    """The last `images` of the path becomes `labels`; else beside the image."""
    parts = list(image.parts)
    for k in range(len(parts) - 2, -1, -1):
        if parts[k] == "images":
            path = Path(*parts[:k], "labels", *parts[k + 1:]).with_suffix(".txt")
            if path.is_file():
                return path
            break
    beside = image.with_suffix(".txt")
    return beside if beside.is_file() and beside.name.lower() not in NO_LABELS else None


def _shapes(image: Path, names: Sequence[str], faults: Faults) -> list[Shape]:
    file = _label_file(image)
    if file is None:
        return []
    try:
        size = size_of(image)
    except DataError:
        return []                       # the image is left out, and said to be
    return list(_lines(file, size, names, faults))


def _lines(file: Path, size: tuple[int, int], names: Sequence[str],
           faults: Faults) -> Iterator[Shape]:
    height, width = size
    for number, line in enumerate(read_text(file).split("\n"), 1):
        words = line.split()
        if not words:
            continue
        where = f"line {number} of {file.name}"
        try:
            label, values = int(float(words[0])), [float(word) for word in words[1:]]
            fault = _fault(label, values, names)
        except (ValueError, OverflowError):
            fault = "lines that are not numbers"
        if fault:
            faults.setdefault(fault, []).append(where)
            continue
        name = names[label] if names else str(label)
        if len(values) == 4:
            x, y, w, h = values
            yield Shape(name, None, ((x - w / 2) * width, (y - h / 2) * height, w * width,
                                     h * height), where=where)
        else:
            points = [round(value * (height if k % 2 else width), PLACES)
                      for k, value in enumerate(values)]
            yield Shape(name, [points], where=where)


def _fault(label: int, values: Sequence[float], names: Sequence[str]) -> str | None:
    if not all(map(math.isfinite, values)) or label < 0:
        return "lines that are not numbers"
    if names and label >= len(names):
        return f"lines of a class beyond the {len(names)} named"
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        return "lines that are neither a box (4 numbers) nor a polygon (6, 8, ... numbers)"
    if max(values) > 2:
        return "lines in pixels, where shares of width and height are expected"
    return None


# --- writing --------------------------------------------------------------------------------------

def write(dataset: Dataset, out: Path) -> None:
    """OUT/images/train, OUT/labels/train and OUT/data.yaml. Raises OSError."""
    names = line_names(dataset.classes[1:])
    numbers = {name: k for k, name in enumerate(dataset.classes[1:])}
    for i, image in enumerate(copied_images(dataset, out / "images" / "train")):
        found = dataset.annotation(i)
        height, width = found.size or size_of(image)
        lines = []
        for label, mask, (x1, y1, x2, y2) in instances_of(found, dataset.classes):
            if mask is None:
                values = [(x1 + x2 + 1) / 2, (y1 + y2 + 1) / 2, x2 - x1 + 1, y2 - y1 + 1]
            else:
                values = merged(outlines(mask, (x1, y1)))
            shares = (f"{v / (height if k % 2 else width):.8g}" for k, v in enumerate(values))
            lines.append(" ".join((str(numbers[label]), *shares)))
        relative = image.relative_to(out / "images")
        text = out / "labels" / relative.with_suffix(".txt")
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text("".join(f"{line}\n" for line in lines))
    about = {"path": ".", "train": "images/train", "val": "images/train",
             "names": dict(enumerate(names))}
    (out / "data.yaml").write_text(yaml.safe_dump(about, sort_keys=False, allow_unicode=True),
                                   encoding="utf-8")
