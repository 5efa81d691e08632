"""The PASCAL VOC layout: detection XML, and instance masks where somebody has drawn them.

    JPEGImages/NAME.jpg   Annotations/NAME.xml   ImageSets/{Main,Segmentation}/SPLIT.txt
    [SegmentationObject/NAME.png   SegmentationClass/NAME.png]   [classes.txt (a class a line)]

XML coordinates count from 1; here they count from 0. In SegmentationObject pixel value n is the
n-th instance, 0 the background and 255 neither; the n-th instance is the n-th object of the XML
unless SegmentationClass has its class. The XML is small: thousands are read in a second, so nothing
is cached.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from caffe.extend import decode_map, parse_xml, read_file
from mnc.data.classes import own_classes
from mnc.data.dataset import Annotation, DataError
from mnc.data.images import read_as_annotated
from mnc.data.instance_maps import instances
from mnc.data.lists import image_file, read_list

log = logging.getLogger("mnc")

VOID = 255                  # border pixels, and what is too small to name
BLOCK = 1 << 22             # pixels
TRUE = ("1", "1.0", "true", "yes")


class VOC:
    """One split of a folder in the VOC layout; classes as in classes.txt, else VOC's twenty.

    masks: instances come from SegmentationObject where NAME.png is there, with tight boxes;
    otherwise, and for images without that file, boxes come from the XML and there are no masks.
    """

    def __init__(self, folder: str | os.PathLike, split: str, name: str | None = None, *,
                 masks: bool = False) -> None:
        self.folder, self.split, self.with_masks = Path(folder), split, masks
        self.name = name or f"voc:{folder}:{split}"
        self.names = read_list(_list_file(self.folder, split, masks), self._has)
        self.classes = own_classes(self.folder)
        self._turned: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.names)

    def _has(self, name: str) -> bool:
        return os.path.isfile(self.folder / "Annotations" / f"{name}.xml") or os.path.isfile(
            image_file(self.folder / "JPEGImages", name))

    def image_path(self, i: int) -> str:
        return image_file(self.folder / "JPEGImages", self.names[i])

    def image(self, i: int) -> np.ndarray:
        """(H, W, 3) uint8 BGR"""
        return read_as_annotated(self, i)

    def annotation(self, i: int) -> Annotation:
        drawn = self.folder / "SegmentationObject" / f"{self.names[i]}.png"
        if self.with_masks and drawn.exists():
            return self._drawn(drawn)
        return self._boxes(self.folder / "Annotations" / f"{self.names[i]}.xml", self.image_path(i))

    def _boxes(self, path: Path, image: str) -> Annotation:
        root = _parse(path)
        objects = root.findall("object")
        corners = np.array([_box(path, number, each) for number, each in enumerate(objects, 1)],
                           np.float32).reshape(-1, 4)
        low, high = np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2],
                                                                           corners[:, 2:])
        self._note_turned(path.stem, int((low < corners[:, :2]).any(axis=1).sum()))
        labels = self._labels(path, [_text(path, each, "name") for each in objects])
        difficult = [each.findtext("difficult", "0").strip().lower() in TRUE for each in objects]
        size = _size(path, root)
        boxes = _cut(np.hstack((low, high)), size)
        return Annotation(boxes, labels, None, size, np.array(difficult, bool))

    def _note_turned(self, name: str, count: int) -> None:
        """Say how many boxes had their corners swapped: at the first, and as they double."""
        if not count or name in self._turned:
            return
        before = sum(self._turned.values())
        self._turned[name] = count
        if (before + count).bit_length() > before.bit_length():
            log.warning("%s: the corners of %d boxes were swapped and have been put right, "
                        "up to now; the last in %s.xml", self.name, before + count, name)

    def _drawn(self, path: Path) -> Annotation:
        owner = _read_map(path)
        owner[owner == VOID] = 0
        by_class = self.folder / "SegmentationClass" / path.name
        labels = (_most_frequent(owner, _read_map(by_class), by_class) if by_class.exists()
                  else self._labels_in_order(path, int(owner.max())))
        out = [label for label in labels if not 0 <= label < len(self.classes)]
        if out:
            raise DataError(f"{by_class}: holds class {out[0]}, but the classes are "
                            f"1..{len(self.classes) - 1}")
        return instances(owner, labels)

    def _labels_in_order(self, drawn: Path, count: int) -> np.ndarray:
        path = self.folder / "Annotations" / f"{drawn.stem}.xml"
        found = [_text(path, each, "name") for each in _parse(path).findall("object")]
        if len(found) < count:
            raise DataError(f"{drawn}: counts to {count}, but {path} has {len(found)} objects and "
                            f"there is no SegmentationClass/{drawn.name} to say the classes")
        return self._labels(path, found[:count])

    def _labels(self, path: Path, found: Sequence[str]) -> np.ndarray:
        unknown = [name for name in found if name not in self.classes[1:]]
        if unknown:
            raise DataError(f'{path}: class "{unknown[0]}" is not one of '
                            f"{', '.join(self.classes[1:])}; classes of your own go into "
                            f"{self.folder / 'classes.txt'}, one a line")
        return np.array([self.classes.index(name) for name in found], int)


def _list_file(folder: Path, split: str, masks: bool) -> Path:
    """The list of a split: where masks are wanted that of Segmentation, if there is one."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; a VOC folder holds JPEGImages/, Annotations/ "
                        "and ImageSets/Main/")
    kinds = ("Segmentation", "Main") if masks else ("Main", "Segmentation")
    places = [folder / "ImageSets" / kind / f"{split}.txt" for kind in kinds]
    found = [place for place in places if place.is_file()]
    if not found:
        have = sorted({place.stem for place in folder.glob("ImageSets/*/*.txt")
                       if "_" not in place.stem})
        raise DataError(f"{places[0]}: no such list; there are: {', '.join(have) or 'none at all'}")
    return found[0]


def _parse(path: Path) -> ElementTree.Element:
    if not path.is_file():
        raise DataError(f"{path}: no such annotation file")
    try:
        return parse_xml(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path}: not readable XML ({error})") from error


def _size(path: Path, root: ElementTree.Element) -> tuple[int, int] | None:
    """(height, width), where the file says it; some tools write 0 x 0, or nothing."""
    size = root.find("size")
    if size is None or not any((size.findtext(key) or "").strip() for key in ("height", "width")):
        return None
    height, width = _pixels(path, size, "height"), _pixels(path, size, "width")
    return None if height == 0 == width else (height, width)


def _cut(boxes: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """Boxes (n, 4) cut at the border of the image; one wholly outside stays, and is refused."""
    last = np.full(2, np.inf) if size is None else np.array(size[::-1], float) - 1
    low, high = np.maximum(boxes[:, :2], 0), np.minimum(boxes[:, 2:], last)
    kept = (low <= high).all(axis=1, keepdims=True)
    return np.where(kept, np.hstack((low, high)), boxes).astype(np.float32)


def _box(path: Path, number: int, found: ElementTree.Element) -> list[float]:
    corners = found.find("bndbox")
    if corners is None:
        raise DataError(f"{path}: object {number} has no bndbox")
    return [_number(path, corners, key) - 1 for key in ("xmin", "ymin", "xmax", "ymax")]


def _pixels(path: Path, size: ElementTree.Element, key: str) -> int:
    found = _number(path, size, key)
    if not math.isfinite(found):
        raise DataError(f"{path}: {key} must be a number of pixels, got {found}")
    return int(found)


def _number(path: Path, parent: ElementTree.Element, key: str) -> float:
    text = _text(path, parent, key)
    try:
        return float(text)
    except ValueError:
        raise DataError(f"{path}: {key} must be a number, got {text!r}") from None


def _text(path: Path, parent: ElementTree.Element, key: str) -> str:
    text = parent.findtext(key)
    if text is None:
        raise DataError(f"{path}: <{parent.tag}> lacks <{key}>")
    return text.strip()


def _read_map(path: Path) -> np.ndarray:
    """(H, W) numbers: grey values, or the indices into the file's palette."""
    try:
        pixels = decode_map(read_file(path), str(path))
    except (OSError, ValueError) as error:
        raise DataError(str(error)) from error
    if pixels is None:
        raise DataError(f"{path}: has colours, but no palette to look them up in; write instance "
                        "numbers as a grey or palette PNG")
    return pixels.astype(np.uint8) if pixels.dtype == bool else pixels


def _most_frequent(owner: np.ndarray, classes: np.ndarray, path: Path) -> np.ndarray:
    """(n,) class of each instance in owner (H, W): the one most of its pixels have in `classes`."""
    if classes.shape != owner.shape:
        raise DataError(f"{path}: {classes.shape[1]} x {classes.shape[0]} pixels, the instances "
                        f"have {owner.shape[1]} x {owner.shape[0]}")
    if max(owner.max(), classes.max()) > VOID:
        raise DataError(f"{path}: counts to {max(owner.max(), classes.max())}, beyond {VOID}")
    counts = np.zeros(256 * 256, int)
    for place in range(0, owner.size, BLOCK):       # in parts: numbers take eight bytes a pixel
        pair = 256 * owner.ravel()[place:place + BLOCK].astype(int)
        counts += np.bincount(pair + classes.ravel()[place:place + BLOCK], minlength=len(counts))
    counts = counts.reshape(256, 256)[:int(owner.max()) + 1]
    counts[:, [0, VOID]] = 0
    return counts[1:].argmax(axis=1)
