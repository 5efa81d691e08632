"""Any data set as a folder in the PASCAL VOC layout. Its reader is mnc.data.voc."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from mnc.data.classes import line_names
from mnc.data.dataset import Annotation, DataError, Dataset
from mnc.data.formats.writing import copied_images
from mnc.data.images import size_of
from mnc.drawing.instances import color_map
from mnc.masks.rendering import pasted

VOID = 255                      # in the maps: what is neither an instance nor background
SPLIT = "train"


def write(dataset: Dataset, out: Path) -> None:
    """OUT/JPEGImages, Annotations, SegmentationObject, SegmentationClass, ImageSets, classes.txt.

    Crowds are void in the maps and difficult in the XML; where masks overlap, the smaller is on
    top. Raises OSError; DataError for more than 254 classes, or instances of an image.
    """
    names = line_names(dataset.classes[1:])
    if len(names) >= VOID:
        raise DataError(f"{dataset.name}: {len(names)} classes; the maps of VOC count to 254")
    listed = []
    for i, image in enumerate(copied_images(dataset, out / "JPEGImages", flat=True)):
        found = dataset.annotation(i)
        size = found.size or size_of(image)
        if len(found.labels) >= VOID:
            raise DataError(f"{dataset.names[i]}: {len(found.labels)} instances; the maps of VOC "
                            "count to 254: convert to coco, labelme or yolo")
        stem = image.stem
        _write_xml(out / "Annotations" / f"{stem}.xml", image.name, found, size, names)
        if any(mask is not None for mask in found.mask_list):
            for kind, numbers in (("Object", np.arange(1, len(found.labels) + 1)),
                                  ("Class", found.labels)):
                path = out / f"Segmentation{kind}" / f"{stem}.png"
                _write_map(path, _painted(found, size, numbers))
        listed.append(stem)
    for kind in ("Main", "Segmentation"):
        path = out / "ImageSets" / kind / f"{SPLIT}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{stem}\n" for stem in listed), encoding="utf-8")
    (out / "classes.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


def _painted(found: Annotation, size: tuple[int, int], numbers: np.ndarray) -> np.ndarray:
    """(H, W) uint8: the number of each instance where its mask is."""
    drawn = np.zeros(size, np.uint8)
    for k in np.argsort(-found.instance_areas(), kind="stable"):
        mask = found.mask_list[k]
        if mask is not None:
            drawn[pasted(found.boxes[k], mask, size)] = VOID if found.ignored[k] else numbers[k]
    return drawn


def _write_map(path: Path, numbers: np.ndarray) -> None:


    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(numbers)
    image.putpalette(color_map().ravel().tolist())
    image.save(path)


def _write_xml(path: Path, image: str, found: Annotation, size: tuple[int, int],
               names: list[str]) -> None:
    """Corners count from 1."""
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "filename").text = image
    about = ElementTree.SubElement(root, "size")
    for key, value in (("width", size[1]), ("height", size[0]), ("depth", 3)):
        ElementTree.SubElement(about, key).text = str(value)
    for label, box, ignored in zip(found.labels, found.boxes.tolist(), found.ignored):
        each = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(each, "name").text = names[label - 1]
        ElementTree.SubElement(each, "difficult").text = str(int(ignored))
        corners = ElementTree.SubElement(each, "bndbox")
        for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box):
            ElementTree.SubElement(corners, key).text = f"{value + 1:g}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))
