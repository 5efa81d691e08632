"""The content of a COCO annotation file, checked, as arrays.

Every segmentation becomes a run-length code at load, so that an annotation is decoded when it is
asked for. Large files take long to read: what is made of them is kept as .npz under the SHA-256 of
the file, and read from there the next time.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from caffe.extend import inside, parse_json
from mnc.data.cache import kept
from mnc.data.dataset import DataError
from mnc.data.hashes import file_hash
from mnc.masks import run_lengths

VERSION = 2                      # of the index; part of the key of a kept one
KEEP_FROM = 20_000_000           # bytes of JSON that make an index worth keeping


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
        return run_lengths.cropped({"size": size, "counts": self.codes[first:last].tobytes()})


# --- the index and its cache ---------------------------------------------------------------------

def read_index(file: Path, cache: Path | None) -> Index:
    """The index of an annotation file; that of a large one is kept in `cache` (a folder)."""
    if cache is None or file.stat().st_size < KEEP_FROM:
        return make_index(parse(file))
    place = cache / f"coco_{file.stem}_{file_hash(file, VERSION)[:16]}.npz"
    return Index(**kept(place, lambda: vars(make_index(parse(file)))))


# --- reading -------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Content:
    """An annotation file: images and categories in the order of their numbers."""

    images: list[dict[str, Any]]
    categories: list[dict[str, Any]]
    annotations: list[Any]


def parse(file: Path) -> Content:
    """The file with images and categories checked; DataError that names what is wrong."""
    try:
        content = parse_json(file.read_bytes())
    except ValueError as error:
        raise DataError(f"{file}: not readable JSON ({error})") from error
    for key in ("images", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            have = ", ".join(content) if isinstance(content, dict) else type(content).__name__
            raise DataError(f'{file}: lacks the list "{key}" of a COCO annotation file; it has '
                            f"{have or 'nothing'}")
    annotations = content.get("annotations") or []
    if not isinstance(annotations, list):
        raise DataError(f'{file}: "annotations" is not a list')
    return Content(_records(file, "images", content["images"], IMAGE),
                   _records(file, "categories", content["categories"], CATEGORY), annotations)


def rows_of(content: Content, on_fault: Callable[[str, Any], None]) -> Iterator[tuple[Row, Any]]:
    """(the annotation checked, as it stands in the file); on_fault(kind, annotation) of others."""
    place = {image["id"]: number for number, image in enumerate(content.images)}
    label = {category["id"]: number for number, category in enumerate(content.categories, 1)}
    for each in content.annotations:
        try:
            yield _row(each, content.images, place, label), each
        except _Unusable as fault:
            on_fault(str(fault), each)


def make_index(content: Content, faults: Mapping[str, Sequence[object]] | None = None) -> Index:
    """The index of a parsed file; what cannot be used is counted in it.

    faults: those found before, {kind: where each is}.
    """
    dropped: dict[str, list[object]] = {kind: list(places)
                                        for kind, places in (faults or {}).items()}

    def drop(kind: str, each: Any) -> None:
        dropped.setdefault(kind, []).append(each.get("id") if isinstance(each, dict) else None)

    rows = [row for row, _ in rows_of(content, drop)]
    rows.sort(key=lambda row: row.image)             # stable: in the order of the file
    counts = Counter(row.image for row in rows)
    codes = [row.mask.code["counts"] if row.mask else b"" for row in rows]
    images, categories = content.images, content.categories
    return Index(
        files=np.array([image["file_name"] for image in images], dtype=str),
        image_ids=_numbers(images),
        sizes=np.array([(image["height"], image["width"]) for image in images],
                       np.int64).reshape(-1, 2),
        starts=_starts([counts[i] for i in range(len(images))]),
        categories=np.array([category["name"] for category in categories], dtype=str),
        category_ids=_numbers(categories),
        boxes=np.array([row.box for row in rows], np.float32).reshape(-1, 4),
        labels=np.array([row.label for row in rows], np.int64),
        crowd=np.array([row.crowd for row in rows], bool),
        areas=np.array([row.area for row in rows], float),
        codes=np.frombuffer(b"".join(codes), np.uint8),
        code_starts=_starts([len(code) for code in codes]),
        dropped=np.array([several(kind, ids) for kind, ids in dropped.items()], dtype=str),
        num_dropped=np.array(sum(map(len, dropped.values()))))


def _numbers(records: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Their ids; as text if they are larger than numpy's numbers."""
    ids = [record["id"] for record in records]
    fit = all(-2**63 <= number < 2**63 for number in ids)
    return np.array(ids, np.int64) if fit else np.array([str(number) for number in ids])


class _Unusable(Exception):
    """An annotation that is left out; the message is the kind of fault."""


@dataclass(frozen=True)
class Row:
    """One annotation that can be used."""

    image: int                  # place of its image
    label: int                  # 1..K-1
    box: list[float]            # x1 y1 x2 y2
    crowd: bool
    area: float
    mask: run_lengths.Mask | None


def _row(each: Any, images: Sequence[Mapping[str, Any]], place: Mapping[int, int],
         label: Mapping[int, int]) -> Row:
    if not isinstance(each, dict):
        raise _Unusable("that are no objects with names and values")
    if (number := _id(each.get("image_id"))) is None or number not in place:
        raise _Unusable("of an image that is not in the file")
    if (category := _id(each.get("category_id"))) is None or category not in label:
        raise _Unusable("of a category that is not in the file")
    image = place[number]
    size = images[image]["height"], images[image]["width"]
    try:
        mask = run_lengths.checked(each.get("segmentation"), size, each.get("bbox"))
    except run_lengths.MaskError as fault:
        raise _Unusable(str(fault)) from None
    crowd, area = _crowd(each.get("iscrowd")), _area(each.get("area"))
    if mask:
        x, y, w, h = mask.box
        box = [x, y, x + w - 1, y + h - 1]
        area = float(mask.area) if area is None else area
    else:
        box = _box(each.get("bbox"), size)
        area = (box[2] - box[0] + 1) * (box[3] - box[1] + 1) if area is None else area
    return Row(image, label[category], box, crowd, area, mask)


def _id(value: Any) -> int | None:
    """A number of an image or category, also where it is written as text; None if it is none."""
    if isinstance(value, str):
        text = value.strip()
        return int(text) if text.isascii() and text.lstrip("-").isdigit() else None
    return int(value) if _whole(value) else None


def _crowd(value: Any) -> bool:
    if not isinstance(value, str):
        return bool(value)
    known = {"": False, "0": False, "false": False, "no": False,
             "1": True, "true": True, "yes": True}
    if value.strip().lower() not in known:
        raise _Unusable("with an iscrowd that is neither 0 nor 1")
    return known[value.strip().lower()]


def _area(value: Any) -> float | None:
    """The area; None where there is none, or one that no mask has."""
    try:
        area = None if value is None else float(value)
    except (TypeError, ValueError, OverflowError):
        raise _Unusable("with an area that is no number") from None
    return None if area is None or not math.isfinite(area) else area


def _box(bbox: Any, size: tuple[int, int]) -> list[float]:
    """x1 y1 x2 y2, cut at the border of the image."""
    try:
        x, y, w, h = (float(v) for v in bbox)
    except (TypeError, ValueError, OverflowError):
        raise _Unusable("with neither a segmentation nor a bbox of four numbers") from None
    x1, y1 = max(x, 0.0), max(y, 0.0)
    x2, y2 = min(x + w, size[1]) - 1, min(y + h, size[0]) - 1
    if not (w >= 1 and h >= 1 and x1 <= x2 and y1 <= y2):
        raise _Unusable("with a box smaller than a pixel or outside the image")
    return [x1, y1, x2, y2]


def given_box(each: Mapping[str, Any]) -> list[float] | None:
    """The box x y w h of an annotation as it stands there; None if it is none."""
    try:
        x, y, w, h = (float(v) for v in each.get("bbox") or ())
    except (TypeError, ValueError, OverflowError):
        return None
    return [x, y, w, h] if all(map(math.isfinite, (x, y, w, h))) and w >= 0 <= h else None


# --- images and categories -----------------------------------------------------------------------

def _file_name(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be text")
    inside("images", value)
    return value


def _side(value: Any) -> int:
    side = _required_id(value)
    if not 0 <= side <= run_lengths.MOST_PIXELS:
        raise ValueError("must be a number of pixels")
    return side


def _required_id(value: Any) -> int:
    found = _id(value)
    if found is None:
        raise ValueError("must be a whole number")
    return found


Fields = Mapping[str, Callable[[Any], Any]]
IMAGE: Fields = {"id": _required_id, "file_name": _file_name, "height": _side, "width": _side}
CATEGORY: Fields = {"id": _required_id, "name": str}


def _records(file: Path, key: str, given: list[Any], fields: Fields) -> list[dict[str, Any]]:
    """The records with these fields, in the order of their ids; DataError if one lacks any."""
    found = [_record(f'{file}: entry {number} of "{key}"', record, fields)
             for number, record in enumerate(given)]
    found.sort(key=lambda record: record["id"])
    for one, other in pairwise(found):
        if one["id"] == other["id"]:
            kind = {"images": "image", "categories": "category"}[key]
            raise DataError(f"{file}: {kind} id {one['id']} occurs twice")
    return found


def _record(where: str, record: Any, fields: Fields) -> dict[str, Any]:
    missing = [name for name in fields if not isinstance(record, dict) or name not in record]
    if missing:
        raise DataError(f"{where} lacks {', '.join(missing)}")
    checked = {}
    for name, convert in fields.items():
        try:
            checked[name] = convert(record[name])
        except ValueError as error:
            raise DataError(f"{where}: {name} {error}, got {record[name]!r:.80}") from None
    height, width = checked.get("height", 0), checked.get("width", 0)
    if height * width > run_lengths.MOST_PIXELS:
        raise DataError(f"{where}: {width} x {height} pixels are more than the "
                        f"{run_lengths.MOST_PIXELS} that are read")
    return checked


def _whole(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value) and value % 1 == 0


def _starts(counts: Sequence[int]) -> np.ndarray:
    return np.concatenate(([0], np.cumsum(counts, dtype=np.int64))).astype(np.int64)


def several(kind: str, places: Sequence[object]) -> str:
    """How many of a kind there are and where the first are: numbers of annotations, or words."""
    first = ", ".join(str(place) for place in places[:5])
    numbers = "" if any(isinstance(place, str) for place in places) else "id "
    return f"{len(places)} {kind} ({numbers}{first}{', ...' if len(places) > 5 else ''})"
