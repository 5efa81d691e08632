"""VIA, the VGG Image Annotator, versions 1 to 3: a project, or annotations as JSON or CSV.

    {"1.jpg71410": {"filename", "size", "regions": [{"shape_attributes": {"name": "polygon",
     "all_points_x", "all_points_y"}, "region_attributes": {"insect": "kudzu"}}], ...}, ...}

A project has the same in "_via_img_metadata". Shapes: polygon, rect, circle, ellipse; polylines and
points have no inside. The class is the value of an attribute of the region: of the one called
class, label, category, type, name, object or species; else of the one that the most regions have.
Where no region has any, all are one class. Coordinates are those of the upright photograph.
Projects of version 3 are other files: mnc.data.formats.via3.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from caffe.extend import parse_json, read_text
from mnc.data.dataset import DataError
from mnc.data.folders import images_below
from mnc.data.formats import via3
from mnc.data.labelled import (
    Faults,
    ImageFinder,
    LabelledImage,
    LabelledImages,
    Shape,
    ellipse,
    rectangle,
)

log = logging.getLogger("mnc")

CLASS_ATTRIBUTES = ("class", "label", "category", "type", "name", "object", "species")
ONE_CLASS = "object"                    # of regions without attributes
LINES = ("point", "polyline", "line")
Record = dict[str, Any]                 # filename, regions


def read(file: Path, folder: Path | None = None, classes: Sequence[str] | None = None, *,
         name: str | None = None) -> LabelledImages:
    """The images of the file; they lie in the folder, by default that of the file.

    Raises DataError where it is no file of VIA's.
    """
    folder = file.parent if folder is None else folder
    finder, faults = ImageFinder(folder, images_below), Faults()
    records = _records(file, faults)
    attribute = _class_attribute(records, file)
    images: dict[Path, LabelledImage] = {}
    for record in records:
        path = finder.find(str(record["filename"]))
        if path is None:
            faults.setdefault(f"images that are not in {folder}", []).append(record["filename"])
            continue
        before = images[path].shapes if path in images else ()
        shapes = [*before, *_shapes(record, attribute, faults)]
        images[path] = LabelledImage(path, shapes)
    return LabelledImages(name or f"via:{file}:{folder}", images.values(), classes, faults)


def _records(file: Path, faults: Faults) -> list[Record]:
    """One of each image, regions as a list."""
    if not file.is_file():
        raise DataError(f"{file}: no such annotation file")
    if file.suffix.lower() == ".csv":
        return _rows(file)
    try:
        content = parse_json(file.read_bytes())
    except ValueError as error:
        raise DataError(f"{file}: not readable JSON ({error})") from error
    if isinstance(content, dict) and "images" in content and "categories" in content:
        raise DataError(f"{file}: a COCO file, as VIA exports one, too: name it as "
                        f"coco:{file}:FOLDER")
    if via3.is_project(content):
        try:
            return via3.records(content, faults)
        except DataError as error:
            raise DataError(f"{file}: {error}") from error
    known = content.get("_via_img_metadata", content) if isinstance(content, dict) else None
    values = list(known.values()) if isinstance(known, dict) else []
    named = [isinstance(each, dict) and isinstance(each.get("filename"), str) for each in values]
    if not named or not all(named):
        raise DataError(f'{file}: no file of VIA\'s: it has no "_via_img_metadata", nor entries '
                        'with "filename" and "regions"')
    return [{**each, "regions": _list(each.get("regions"))} for each in values]


def _list(regions: Any) -> list[Any]:
    """Version 1 has {"0": region, "1": region}."""
    if isinstance(regions, dict):
        return list(regions.values())
    return regions if isinstance(regions, list) else []


def _rows(file: Path) -> list[Record]:
    """A row is a region; a row without a shape is an image without regions."""
    text = read_text(file)
    if "# CSV_HEADER" in text[:5000]:
        raise DataError(f"{file}: a table of VIA 3, which does not name the options of attributes; "
                        "save the project there (JSON), and name that")
    lines = csv.DictReader(io.StringIO(text, newline=""))
    names = {(name or "").strip().lstrip("#").strip(): name for name in lines.fieldnames or ()}
    needed = ("filename", "region_shape_attributes", "region_attributes")
    if not set(needed) <= set(names):
        raise DataError(f"{file}: no table of VIA's: it needs columns {', '.join(needed)}; it has "
                        f"{', '.join(names) or 'none'}")
    records: dict[str, Record] = {}
    try:
        for row in lines:
            filename, shape, about = (row.get(names[key]) or "" for key in needed)
            record = records.setdefault(filename, {"filename": filename, "regions": []})
            parsed = _attributes(shape)
            if parsed != {}:
                record["regions"].append({"shape_attributes": parsed,
                                          "region_attributes": _attributes(about)})
    except csv.Error as error:
        raise DataError(f"{file}: not a readable table ({error})") from error
    return list(records.values())


def _attributes(text: str) -> Any:
    """The JSON in a cell; None if it is damaged."""
    try:
        return json.loads(text) if text.strip() else {}
    except ValueError:
        return None


# --- classes --------------------------------------------------------------------------------------

def _class_attribute(records: Sequence[Record], file: Path) -> str | None:
    """Which attribute is the class; None if no region has any."""
    counts = Counter(key for record in records for region in record["regions"]
                     for key in _named(region))
    if not counts:
        return None
    known = [key for wanted in CLASS_ATTRIBUTES for key in counts if key.lower() == wanted]
    chosen = known[0] if known else counts.most_common(1)[0][0]
    if len(counts) > 1:
        log.info('%s: the class is attribute "%s" (others: %s)', file, chosen,
                 ", ".join(f'"{key}"' for key in counts if key != chosen))
    return chosen


def _named(region: Any) -> dict[str, str]:
    """Attributes of a region that say something; of a checkbox the words that are ticked."""
    given = region.get("region_attributes") if isinstance(region, dict) else None
    found = {}
    for key, value in (given.items() if isinstance(given, dict) else ()):
        if isinstance(value, dict):
            value = " ".join(word for word, ticked in value.items() if ticked)
        if isinstance(value, (str, int, float)) and str(value).strip():
            found[str(key)] = str(value).strip()
    return found


# --- shapes ---------------------------------------------------------------------------------------

def _shapes(record: Record, attribute: str | None, faults: Faults) -> Iterator[Shape]:
    for count, region in enumerate(record["regions"], 1):
        where = f"{record['filename']}: region {count}"
        try:
            drawn = _drawn(region["shape_attributes"])
        except (KeyError, TypeError, ValueError, AttributeError):
            faults.setdefault("regions that are damaged", []).append(where)
            continue
        label = ONE_CLASS if attribute is None else _named(region).get(attribute)
        if drawn is None:
            faults.setdefault("lines and points, which have no inside", []).append(where)
        elif label is None:
            faults.setdefault(f'regions without a "{attribute}"', []).append(where)
        else:
            yield Shape(label, [drawn], where=f"region {count}")


def _drawn(shape: Mapping[str, Any]) -> list[float] | None:
    """A polygon; None for a line or points."""
    kind = shape["name"]
    if kind in LINES:
        return None

    def numbers(*keys: str) -> list[float]:
        values = [float(shape[key]) for key in keys]
        if not all(map(math.isfinite, values)):
            raise ValueError("coordinates that are no numbers")
        return values
    if kind == "rect":
        x, y, width, height = numbers("x", "y", "width", "height")
        return rectangle(x, y, x + width, y + height)
    if kind == "circle":
        x, y, radius = numbers("cx", "cy", "r")
        return ellipse((x, y), (radius, radius))
    if kind == "ellipse":
        x, y, across, down = numbers("cx", "cy", "rx", "ry")
        return ellipse((x, y), (across, down), float(shape.get("theta", 0)))
    if kind != "polygon":
        raise ValueError(f"a {kind}")
    xs, ys = shape["all_points_x"], shape["all_points_y"]
    points = [(float(x), float(y)) for x, y in zip(xs, ys, strict=True)]
    if not all(map(math.isfinite, (v for point in points for v in point))):
        raise ValueError("coordinates that are no numbers")
    return [v for point in points for v in point]
