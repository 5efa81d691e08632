"""COCO instances: a JSON of images, categories and annotations (polygons, RLE, crowd) and a folder.

Every segmentation becomes a run-length code at load, so that an annotation is decoded when it is
asked for. Large files take long to read: what is made of them is kept as .npz under the SHA-256 of
the file, and read from there the next time.

Boxes are tight around the masks, in whole inclusive pixels; where an annotation has no mask they
are the file's, x y w h -> x, y, x + w - 1, y + h - 1.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from caffe.extend import need
from mnc.data.cache import kept
from mnc.data.dataset import Annotation, DataError, listed
from mnc.data.hashes import file_hash
from mnc.data.images import read_image

log = logging.getLogger("mnc")

VERSION = 1                      # of the index; part of the key of a kept one
NUMBERS = {"id", "height", "width"}
KEEP_FROM = 20_000_000           # bytes of JSON that make an index worth keeping


class COCO:
    """The images of an annotation file, in the order of their ids.

    image_ids, category_ids: the file's own numbers, of images and of classes 1..K-1.
    """

    def __init__(self, annotations: str | os.PathLike, images: str | os.PathLike,
                 name: str | None = None, *, cache: str | os.PathLike | None = None) -> None:
        self.file, self.folder = Path(annotations), Path(images)
        self.name = name or f"coco:{annotations}:{images}"
        if not self.file.is_file():
            raise DataError(f"{self.file}: no such annotation file")
        if not self.folder.is_dir():
            raise DataError(f"{self.folder}: no such folder of images")
        self.index = read_index(self.file, None if cache is None else Path(cache))
        dropped = self.index.dropped.tolist()
        if dropped:
            log.warning("%s: %d annotations cannot be used and are left out:\n%s", self.name,
                        int(self.index.num_dropped), listed(dropped))
        self.classes = ("__background__", *self.index.categories.tolist())
        self.category_ids = self.index.category_ids.tolist()
        self.image_ids = self.index.image_ids.tolist()
        self.files = self.index.files.tolist()
        self.names = [os.path.splitext(file)[0] for file in self.files]

    def __len__(self) -> int:
        return len(self.files)

    def image_path(self, i: int) -> str:
        return str(self.folder / self.files[i])

    def image(self, i: int) -> np.ndarray:
        return read_image(self.image_path(i), tuple(self.index.sizes[i].tolist()))

    def annotation(self, i: int) -> Annotation:
        index = self.index
        size = tuple(index.sizes[i].tolist())
        rows = range(index.starts[i], index.starts[i + 1])
        places = slice(rows.start, rows.stop)
        cut = [index.mask(row, size) for row in rows]
        boxes = [index.boxes[row] if found is None else found[0]
                 for row, found in zip(rows, cut)]
        return Annotation(np.array(boxes, np.float32).reshape(-1, 4), index.labels[places],
                          [None if found is None else found[1] for found in cut], size,
                          crowd=index.crowd[places], areas=index.areas[places])


@dataclass(frozen=True)
class Index:
    """An annotation file as arrays: I images, A annotations sorted by image, K - 1 categories."""

    files: np.ndarray           # (I,) file names
    image_ids: np.ndarray       # (I,)
    sizes: np.ndarray           # (I, 2) height, width
    starts: np.ndarray          # (I + 1,) first annotation of each image
    categories: np.ndarray      # (K - 1,) names
    category_ids: np.ndarray    # (K - 1,)
    boxes: np.ndarray           # (A, 4) x1 y1 x2 y2
    labels: np.ndarray          # (A,) 1..K-1
    crowd: np.ndarray           # (A,) bool
    areas: np.ndarray           # (A,)
    codes: np.ndarray           # uint8: run-length codes, one after the other
    code_starts: np.ndarray     # (A + 1,); an empty code: no mask
    dropped: np.ndarray         # (d,) why annotations were left out, a line for each kind
    num_dropped: np.ndarray     # ()

    def mask(self, row: int, size: tuple[int, int]) -> tuple[list[int], np.ndarray] | None:
        """(tight box, mask cut to it) of an annotation; None if it has no mask."""
        first, last = self.code_starts[row], self.code_starts[row + 1]
        if first == last:
            return None
        code = {"size": list(size), "counts": self.codes[first:last].tobytes()}
        whole = mask_module().decode(code).astype(bool)
        ys, xs = (np.flatnonzero(whole.any(axis=axis)) for axis in (1, 0))
        box = [xs[0], ys[0], xs[-1], ys[-1]]
        return box, whole[ys[0]:ys[-1] + 1, xs[0]:xs[-1] + 1]


def mask_module() -> Any:
    """pycocotools.mask"""
    return need("pycocotools.mask", package="pycocotools", feature="COCO data").mask


# --- the index and its cache ---------------------------------------------------------------------

def read_index(file: Path, cache: Path | None) -> Index:
    """The index of an annotation file; that of a large one is kept in `cache` (a folder)."""
    if cache is None or file.stat().st_size < KEEP_FROM:
        return make_index(file, _parse(file))
    place = cache / f"coco_{file.stem}_{file_hash(file, VERSION)[:16]}.npz"
    return Index(**kept(place, lambda: vars(make_index(file, _parse(file)))))


# --- reading -------------------------------------------------------------------------------------

def _parse(file: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except ValueError as error:
        raise DataError(f"{file}: not readable JSON ({error})") from error
    for key in ("images", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            have = ", ".join(content) if isinstance(content, dict) else type(content).__name__
            raise DataError(f'{file}: lacks the list "{key}" of a COCO annotation file; it has '
                            f"{have or 'nothing'}")
    return content


def make_index(file: Path, content: Mapping[str, Any]) -> Index:
    """The index of a parsed file; what cannot be used is counted in it."""
    images = sorted(_records(file, content, "images", "id", "file_name", "height", "width"),
                    key=lambda image: image["id"])
    categories = sorted(_records(file, content, "categories", "id", "name"),
                        key=lambda category: category["id"])
    place = _unique(file, "image", [image["id"] for image in images])
    label = _unique(file, "category", [category["id"] for category in categories])
    rows: list[tuple[int, int, list[float], bool, float, bytes]] = []
    dropped: dict[str, list[object]] = {}
    for each in content.get("annotations") or ():
        try:
            rows.append(_row(each, images, place, label))
        except _Unusable as fault:
            number = each.get("id") if isinstance(each, dict) else None
            dropped.setdefault(str(fault), []).append(number)
    rows.sort(key=lambda row: row[0])                # stable: in the order of the file
    counts = Counter(row[0] for row in rows)
    codes = [row[5] for row in rows]
    return Index(
        files=np.array([image["file_name"] for image in images], dtype=str),
        image_ids=np.array([image["id"] for image in images], dtype=np.int64),
        sizes=np.array([(image["height"], image["width"]) for image in images],
                       np.int64).reshape(-1, 2),
        starts=_starts([counts[i] for i in range(len(images))]),
        categories=np.array([category["name"] for category in categories], dtype=str),
        category_ids=np.array([category["id"] for category in categories], dtype=np.int64),
        boxes=np.array([row[2] for row in rows], np.float32).reshape(-1, 4),
        labels=np.array([row[1] for row in rows], np.int64),
        crowd=np.array([row[3] for row in rows], bool),
        areas=np.array([row[4] for row in rows], float),
        codes=np.frombuffer(b"".join(codes), np.uint8),
        code_starts=_starts([len(code) for code in codes]),
        dropped=np.array([_several(kind, ids) for kind, ids in dropped.items()], dtype=str),
        num_dropped=np.array(sum(map(len, dropped.values()))))


class _Unusable(Exception):
    """An annotation that is left out; the message is the kind of fault."""


def _row(each: Mapping[str, Any], images: Sequence[Mapping[str, Any]], place: Mapping[int, int],
         label: Mapping[int, int]) -> tuple[int, int, list[float], bool, float, bytes]:
    """(image, label, box, crowd, area, code) of one annotation."""
    if not isinstance(each, dict):
        raise _Unusable("that are no objects with names and values")
    if not isinstance(each.get("image_id"), (int, float)) or each["image_id"] not in place:
        raise _Unusable("of an image that is not in the file")
    if not isinstance(each.get("category_id"), (int, float)) or each["category_id"] not in label:
        raise _Unusable("of a category that is not in the file")
    image = place[each["image_id"]]
    size = int(images[image]["height"]), int(images[image]["width"])
    code = _code(each.get("segmentation"), size)
    area = each.get("area")
    if area is not None and not isinstance(area, (int, float)):
        raise _Unusable("with an area that is no number")
    if code:
        encoded = {"size": list(size), "counts": code}
        x, y, w, h = mask_module().toBbox(encoded).tolist()
        if area is None:
            area = float(mask_module().area(encoded))
        box = [x, y, x + w - 1, y + h - 1]
    else:
        box = _box(each.get("bbox"), size)
        area = (box[2] - box[0] + 1) * (box[3] - box[1] + 1) if area is None else area
    return (image, 1 + label[each["category_id"]], box, bool(each.get("iscrowd", 0)), float(area),
            code)


def _box(bbox: Any, size: tuple[int, int]) -> list[float]:
    """x1 y1 x2 y2, cut at the border of the image."""
    try:
        x, y, w, h = (float(v) for v in bbox)
    except (TypeError, ValueError):
        raise _Unusable("with neither a segmentation nor a bbox of four numbers") from None
    x1, y1 = max(x, 0.0), max(y, 0.0)
    x2, y2 = min(x + w, size[1]) - 1, min(y + h, size[0]) - 1
    if not (w >= 1 and h >= 1 and x1 <= x2 and y1 <= y2):
        raise _Unusable("with a box smaller than a pixel or outside the image")
    return [x1, y1, x2, y2]


def _code(segmentation: Any, size: tuple[int, int]) -> bytes:
    """The run-length code of polygons, of runs or of a code; empty if there is no segmentation."""
    if not segmentation:
        return b""
    mask = mask_module()
    try:
        if isinstance(segmentation, list):
            polygons = [p for p in segmentation if len(p) >= 6]
            if not polygons:
                raise _Unusable("with polygons of fewer than three points")
            code = mask.merge(mask.frPyObjects(polygons, *size))
        else:
            code = {"size": segmentation["size"], "counts": segmentation["counts"]}
            if list(code["size"]) != list(size):
                raise _Unusable("with a mask of another size than the image")
            if isinstance(code["counts"], list):
                code = mask.frPyObjects(code, *size)
            elif isinstance(code["counts"], str):
                code["counts"] = code["counts"].encode()
            mask.decode(code)                   # ValueError for runs that do not fill the image
        if not mask.area(code):
            raise _Unusable("with a mask without a pixel")
    except (KeyError, TypeError, ValueError, OverflowError):
        raise _Unusable("with a segmentation that is neither polygons nor RLE") from None
    return bytes(code["counts"])


def _records(file: Path, content: Mapping[str, Any], key: str, *needed: str) -> list[Mapping]:
    for number, record in enumerate(content[key]):
        missing = [name for name in needed if not isinstance(record, dict) or name not in record]
        if missing:
            raise DataError(f'{file}: entry {number} of "{key}" lacks {", ".join(missing)}')
        wrong = [name for name in NUMBERS.intersection(needed) if not _whole(record[name])]
        if wrong:
            raise DataError(f'{file}: entry {number} of "{key}": {wrong[0]} must be a whole '
                            f"number, got {record[wrong[0]]!r}")
    return content[key]


def _whole(value: Any) -> bool:
    return isinstance(value, (int, float)) and value % 1 == 0


def _unique(file: Path, kind: str, ids: Sequence[int]) -> dict[int, int]:
    """{id: its place}; DataError if one occurs twice."""
    double = [number for number, times in Counter(ids).items() if times > 1]
    if double:
        raise DataError(f"{file}: {kind} id {double[0]} occurs twice")
    return {number: place for place, number in enumerate(ids)}


def _starts(counts: Sequence[int]) -> np.ndarray:
    return np.concatenate(([0], np.cumsum(counts, dtype=np.int64))).astype(np.int64)


def _several(kind: str, ids: Sequence[object]) -> str:
    first = ", ".join(str(number) for number in ids[:5])
    return f"{len(ids)} {kind} (id {first}{', ...' if len(ids) > 5 else ''})"
