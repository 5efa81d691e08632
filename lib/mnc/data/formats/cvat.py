"""CVAT: "CVAT for images 1.1", an annotations.xml and the images.

    <annotations> <meta> <task> <labels> <label> <name>...   (or <project>, <job>)
    <image name width height> <polygon label points="x,y;x,y"> <box label xtl ytl xbr ybr rotation>
    <ellipse label cx cy rx ry rotation> <mask label rle left top width height>

The numbers of rle are runs of 0, 1, 0, ... along the rows of the mask's own rectangle. Shapes of
one group_id and label are one instance. Polylines, points, skeletons and cuboids have no inside and
are left out; tags say nothing of instances. Tracks of videos: mnc.data.formats.cvat_video.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from caffe.extend import parse_xml
from mnc.data.dataset import DataError
from mnc.data.folders import images_below
from mnc.data.formats import cvat_video
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
from mnc.masks.run_lengths import MOST_PIXELS

LINES = ("polyline", "points", "skeleton", "cuboid")
NO_SHAPES = ("tag", "attribute")
Element = ElementTree.Element


def read(file: Path, folder: Path | None = None, classes: Sequence[str] | None = None, *,
         name: str | None = None) -> LabelledImages:
    """The images of the XML; they lie in the folder, by default that of the file.

    classes: for a file without the labels of its task. Raises DataError where it is no such
    file.
    """
    folder = file.parent if folder is None else folder
    if not file.is_file():
        raise DataError(f"{file}: no such annotation file")
    try:
        root = parse_xml(file.read_bytes())
    except ValueError as error:
        raise DataError(f"{file}: not readable XML ({error})") from error
    finder, faults = ImageFinder(folder, images_below), Faults()
    images = root.findall("image")
    if not images and root.find("track") is not None:
        try:
            images = cvat_video.images(root, folder, faults)
        except (DataError, ValueError) as error:
            raise DataError(f"{file}: {error}") from error
    elif not images:
        raise DataError(f"{file}: no <image> or <track> in <{root.tag}>: no XML of CVAT's")
    named = [label.findtext("name", "") for label in root.findall("./meta//labels/label")]
    found = [image for each in images if (image := _image(each, finder, faults))]
    return LabelledImages(name or f"cvat:{file}:{folder}", found, named or classes, faults)


def _image(element: Element, finder: ImageFinder, faults: Faults) -> LabelledImage | None:
    name = element.get("name", "")
    path = finder.find(name)
    if path is None:
        faults.setdefault(f"images that are not in {finder.folder}", []).append(name)
        return None
    try:
        size = int(element.get("height", "")), int(element.get("width", ""))
        if not 0 < size[0] * size[1] <= MOST_PIXELS:
            raise ValueError("an impossible size")
    except ValueError:
        faults.setdefault("images without a width and a height", []).append(name)
        return None
    return LabelledImage(path, grouped(_shapes(element, size, name, faults), size), size)


def _shapes(image: Element, size: tuple[int, int], name: str,
            faults: Faults) -> Iterator[tuple[object, Shape]]:
    """(group, shape); group 0 is none."""
    for count, each in enumerate((e for e in image if e.tag not in NO_SHAPES), 1):
        where = f"{each.tag} {count}"
        if each.tag in LINES:
            faults.setdefault("lines and points, which have no inside", []).append(
                f"{name}: {where}")
            continue
        try:
            drawn = _drawn(each, size)
        except (KeyError, ValueError, OverflowError):
            faults.setdefault("shapes that are damaged", []).append(f"{name}: {where}")
            continue
        group = each.get("group_id") or "0"
        yield None if group == "0" else group, Shape(each.get("label", ""), drawn, where=where)


def _drawn(shape: Element, size: tuple[int, int]) -> list[list[float]] | np.ndarray:
    """Polygons, or a mask (H, W)."""
    if shape.tag == "polygon":
        points = [[float(v) for v in point.split(",")]
                  for point in shape.attrib["points"].split(";") if point.strip()]
        flat = [v for point in points for v in point]
        if any(len(point) != 2 for point in points) or not all(map(math.isfinite, flat)):
            raise ValueError("points that are no pairs of numbers")
        return [flat]
    if shape.tag == "mask":
        return _mask(shape, size)
    turn = math.radians(float(shape.get("rotation", 0)))
    if shape.tag == "ellipse":
        x, y, across, down = _numbers(shape, "cx", "cy", "rx", "ry")
        return [ellipse((x, y), (across, down), turn)]
    if shape.tag != "box":
        raise ValueError(f"a {shape.tag}")
    corners = np.reshape(rectangle(*_numbers(shape, "xtl", "ytl", "xbr", "ybr")), (-1, 2))
    middle = corners.mean(axis=0)                   # which the box is turned around
    matrix = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    return [((corners - middle) @ matrix + middle).ravel().tolist()]


def _numbers(shape: Element, *keys: str) -> list[float]:
    values = [float(shape.attrib[key]) for key in keys]
    if not all(map(math.isfinite, values)):
        raise ValueError("coordinates that are no numbers")
    return values


def _mask(shape: Element, size: tuple[int, int]) -> np.ndarray:
    """The runs put where their rectangle lies, cut at the border of the image."""
    left, top, width, height = (int(float(shape.attrib[key]))
                                for key in ("left", "top", "width", "height"))
    lengths = np.array([int(n) for n in shape.attrib["rle"].split(",")], np.int64)
    if min(width, height) < 1 or width * height > MOST_PIXELS or lengths.min() < 0 \
            or lengths.max() > width * height or lengths.sum() != width * height:
        raise ValueError("run lengths that do not fill their rectangle")
    part = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(height, width)
    whole = np.zeros(size, bool)
    part = part[max(-top, 0):, max(-left, 0):]
    window = whole[max(top, 0):max(top, 0) + len(part), max(left, 0):max(left, 0) + part.shape[1]]
    window[...] = part[:window.shape[0], :window.shape[1]]
    return whole
