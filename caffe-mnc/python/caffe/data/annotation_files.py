"""Annotations of images in files: VOC's XML, JSON, and lines of text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from caffe.engine import log
from caffe.engine.formats.text import parse_json, parse_xml, read_text
from caffe.engine.registry import Registry, nearest
from caffe.proto import caffe_pb2

Box = tuple[float, float, float, float]
# label, (xmin, ymin, xmax, ymax) in shares of the image, difficult
Found = Iterator[tuple[int, Box, bool]]
Reader = Callable[[Path, dict[str, int], tuple[int, int]], Found]

LABEL_TYPES = Registry("label_type", ValueError)    # name -> Reader


def annotate(annotated: Any, path: str, label_type: str, labels: dict[str, int],
             size: tuple[int, int]) -> None:
    """Add what the file says of an image of size (height, width) to its AnnotatedDatum

    Objects of one label are one group, numbered from 0. Raises ValueError, with the file's name, if
    it does not say what it should.
    """
    annotated.type = caffe_pb2.AnnotatedDatum.BBOX
    groups: dict[int, Any] = {}
    try:
        for label, box, difficult in LABEL_TYPES.get(label_type)(Path(path), labels, size):
            if label not in groups:
                groups[label] = annotated.annotation_group.add(group_label=label)
            xmin, ymin, xmax, ymax = box
            if min(box) < 0 or max(box) > 1 or xmin > xmax or ymin > ymax:
                log.warning("%s: a box of label %d lies outside of the image or is empty: "
                            "%g %g %g %g", path, label, *box)
            groups[label].annotation.add(
                instance_id=len(groups[label].annotation),
                bbox={"xmin": xmin, "ymin": ymin, "xmax": xmax, "ymax": ymax,
                      "difficult": difficult})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: not an annotation of label_type {label_type}: "
                         f"{error}") from error


def _label(name: str | None, labels: dict[str, int]) -> int:
    if name not in labels:
        raise ValueError(f'the label map has no "{name}"{nearest(str(name), labels)}')
    return labels[name]


def _shares(box: list[float], size: tuple[int, int]) -> Box:
    height, width = size
    return box[0] / width, box[1] / height, box[2] / width, box[3] / height


def _size(height: Any, width: Any, image: tuple[int, int], path: Path) -> tuple[int, int]:
    """The size an annotation gives, else that of the image."""
    if height is None or width is None:
        log.warning("%s: gives no size; that of the image is taken", path)
        return image
    given = int(height), int(width)
    if min(given) < 1:
        raise ValueError(f"its size is {given[1]} x {given[0]}")
    if given != image:
        log.warning("%s: says %d x %d (width x height), the image is %d x %d", path, given[1],
                    given[0], image[1], image[0])
    return given


@LABEL_TYPES.register("xml")
def _xml(path: Path, labels: dict[str, int], image: tuple[int, int]) -> Found:
    """VOC's: pixels as they are, divided by the size"""
    root = parse_xml(path.read_bytes())
    size = _size(root.findtext("size/height"), root.findtext("size/width"), image, path)
    for each in root.iter("object"):
        corners = [float(each.findtext(f"bndbox/{name}", "missing"))
                   for name in ("xmin", "ymin", "xmax", "ymax")]
        yield (_label(each.findtext("name"), labels), _shares(corners, size),
               (each.findtext("difficult") or "0").strip() == "1")


@LABEL_TYPES.register("json")
def _json(path: Path, labels: dict[str, int], image: tuple[int, int]) -> Found:
    """{image: {height, width}, annotation: [{category_id, bbox: [x, y, w, h], iscrowd}]}"""
    content = parse_json(path.read_bytes())
    about = content.get("image", {})
    size = _size(about.get("height"), about.get("width"), image, path)
    for each in content["annotation"]:
        x, y, width, height = each["bbox"]
        yield (_label(str(each["category_id"]), labels),
               _shares([x, y, x + width, y + height], size), bool(each.get("iscrowd", 0)))


@LABEL_TYPES.register("txt")
def _txt(path: Path, labels: dict[str, int], image: tuple[int, int]) -> Found:
    """lines: label xmin ymin xmax ymax, the label a number, the corners in pixels"""
    for line in read_text(path).split("\n"):
        if line.strip():
            label, *corners = line.split()
            if len(corners) != 4:
                raise ValueError(f'expected "label xmin ymin xmax ymax", got "{line}"')
            yield int(label), _shares([float(c) for c in corners], image), False
