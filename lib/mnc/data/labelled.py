"""Images with drawn shapes, as labelling tools keep them, checked and indexed as COCO files are.

Readers of formats, and users who register data, give LabelledImages a list of LabelledImage; what
is wrong with a shape is found by the checks of mnc.data.coco_index, and counted in one warning.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mnc.data.coco import Indexed
from mnc.data.coco_index import Content, make_index, several
from mnc.data.dataset import DataError, listed
from mnc.data.images import size_of
from mnc.data.names import relative_files
from mnc.masks import run_lengths

Faults = dict[str, list[object]]        # kind of fault -> where each is

CURVE = 72                              # corners of a circle or an ellipse


@dataclass(frozen=True, eq=False)
class Shape:
    """One instance, or a part of one.

    segmentation: polygons [[x1, y1, x2, y2, ...], ...] in pixels, (0, 0) being the corner of the
    first pixel; or a mask (H, W) bool of the whole image; or COCO's RLE; None for a box alone.
    """

    label: str
    segmentation: Any = None
    box: tuple[float, float, float, float] | None = None    # x, y, width, height
    crowd: bool = False                 # a region of many: not trained on, no mistake to find
    where: str = ""                     # for messages: "shape 3"


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """An image file and what is drawn on it; without a size (H, W) the file's holds, upright."""

    file: str | os.PathLike
    shapes: Sequence[Shape] = ()
    size: tuple[int, int] | None = None


class LabelledImages(Indexed):
    """A data set of images and shapes.

    classes: names without the background's; by default the labels that occur, in alphabetical
    order. What cannot be used is left out, and one warning says what and why; `faults` are those
    that the reader of the files has found. Raises DataError where no image is left.
    """

    def __init__(self, name: str, images: Iterable[LabelledImage],
                 classes: Sequence[str] | None = None, faults: Faults | None = None) -> None:
        faults = {} if faults is None else faults
        given = list(images)
        if classes is None:
            classes = sorted({shape.label for image in given for shape in image.shapes})
        sizes = [_checked_size(image, faults) for image in given]
        used = [(image, size) for image, size in zip(given, sizes) if size]
        if not used:
            raise DataError(f"{name}: no image of it can be used\n{_listed(faults)}".rstrip())
        if not classes:
            raise DataError(f"{name}: none of its {len(used)} images has a labelled shape"
                            f"\n{_listed(faults)}".rstrip())
        paths = [os.fspath(image.file) for image, _ in used]
        files = relative_files(paths)
        records = [(file, size, image.shapes) for file, (image, size) in zip(files, used)]
        outside: Faults = {}
        content = _content(records, classes, faults, outside)
        super().__init__(name, make_index(content, faults), paths, _said(outside))


def _checked_size(image: LabelledImage, faults: Faults) -> tuple[int, int] | None:
    """(H, W) of the image as it is annotated; None, and a fault, if that is not its file's."""
    file = os.fspath(image.file)
    try:
        own = size_of(file)
        size = own if image.size is None else run_lengths.check_size(image.size)
    except (DataError, run_lengths.MaskError) as error:
        faults.setdefault("images that cannot be read", []).append(str(error))
        return None
    if size not in (own, own[::-1]):
        faults.setdefault("images of another size than the annotation's", []).append(
            f"{file}: {own[1]} x {own[0]}, annotated {size[1]} x {size[0]}")
        return None
    return size


def _content(records: Sequence[tuple[str, tuple[int, int], Sequence[Shape]]],
             classes: Sequence[str], faults: Faults, outside: Faults) -> Content:
    """The shapes as COCO annotations; their ids are words that say where they are."""
    numbers = {label: k for k, label in enumerate(classes, 1)}
    images = [{"id": k, "file_name": file, "height": size[0], "width": size[1]}
              for k, (file, size, _) in enumerate(records, 1)]
    annotations: list[Any] = []
    for image, (file, size, shapes) in enumerate(records, 1):
        for count, shape in enumerate(shapes, 1):
            where = f"{file}: {shape.where or f'shape {count}'}"
            fault = _fault(shape, numbers)
            if fault:
                place = where if shape.label in numbers else f'{where} "{shape.label}"'
                faults.setdefault(fault, []).append(place)
                continue
            if _reaches_out(shape.segmentation, size):
                outside.setdefault(OUTSIDE, []).append(where)
            annotations.append({
                "id": where, "image_id": image, "category_id": numbers[shape.label],
                "iscrowd": int(shape.crowd), "bbox": shape.box,
                "segmentation": _coded(shape.segmentation, size)})
    return Content(images, [{"id": k, "name": name} for name, k in numbers.items()], annotations)


def _fault(shape: Shape, numbers: Mapping[str, int]) -> str | None:
    """What is wrong with a shape that the checks of COCO files would take for something else."""
    if shape.label not in numbers:
        more = ", ..." if len(numbers) > 10 else ""
        return f"of a class that is not one of {', '.join(list(numbers)[:10])}{more}"
    drawn = shape.segmentation
    if isinstance(drawn, list) and all(len(polygon) < 6 for polygon in drawn):
        return "with polygons of fewer than three points"
    return None


OUTSIDE = "reach out of their image and are cut at its border"


def _reaches_out(segmentation: Any, size: tuple[int, int]) -> bool:
    """By more than a pixel, and not wholly."""
    polygons = [polygon for polygon in segmentation if len(polygon) > 1] \
        if isinstance(segmentation, list) else []
    if not polygons:
        return False
    height, width = size
    xs, ys = ([v for polygon in polygons for v in polygon[first::2]] for first in (0, 1))
    inside = max(xs) > 0 and max(ys) > 0 and min(xs) < width and min(ys) < height
    return inside and (min(*xs, *ys) < -1 or max(xs) > width + 1 or max(ys) > height + 1)


def _coded(segmentation: Any, size: tuple[int, int]) -> Any:
    """A mask (H, W) as a code; polygons and codes as they are."""
    if not isinstance(segmentation, np.ndarray):
        return segmentation
    if segmentation.shape != size:
        return {"size": list(segmentation.shape), "counts": ""}     # refused, with the reason
    return run_lengths.packed(segmentation)


def _listed(faults: Faults) -> str:
    return listed(_said(faults))


def _said(faults: Faults) -> list[str]:
    return [several(kind, places) for kind, places in faults.items()]


# --- shapes ---------------------------------------------------------------------------------------

def rectangle(x1: float, y1: float, x2: float, y2: float) -> list[float]:
    """A polygon of any two opposite corners."""
    return [x1, y1, x2, y1, x2, y2, x1, y2]


def ellipse(centre: Sequence[float], radii: Sequence[float], angle: float = 0.0) -> list[float]:
    """A polygon; angle in radians, of the first radius from the x axis towards y."""
    turn = np.linspace(0, 2 * np.pi, CURVE, endpoint=False)
    x, y = radii[0] * np.cos(turn), radii[1] * np.sin(turn)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack((centre[0] + x * cos - y * sin, centre[1] + x * sin + y * cos),
                    axis=1).ravel().tolist()


def grouped(shapes: Iterable[tuple[object, Shape]], size: tuple[int, int]) -> list[Shape]:
    """One shape for all of one group and label, in the place of the first; None is no group.

    shapes: (group, shape).
    """
    parts: dict[object, list[Shape]] = {}
    for count, (group, shape) in enumerate(shapes):
        key = (None, count) if group is None else (str(group), shape.label)
        parts.setdefault(key, []).append(shape)
    return [each[0] if len(each) == 1 else _union(each, size) for each in parts.values()]


def _union(parts: Sequence[Shape], size: tuple[int, int]) -> Shape:
    first, drawn = parts[0], [part.segmentation for part in parts if part.segmentation is not None]
    whole: Any = None
    if drawn and all(isinstance(each, list) for each in drawn):
        whole = [polygon for each in drawn for polygon in each]
    elif drawn:
        whole = np.any([_mask(each, size) for each in drawn], axis=0)
    return Shape(first.label, whole, first.box, first.crowd, first.where)


def _mask(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    if isinstance(segmentation, np.ndarray):
        return segmentation
    try:
        found = run_lengths.checked(segmentation, size)
    except run_lengths.MaskError:
        found = None                            # a part without a pixel adds none
    return np.zeros(size, bool) if found is None else run_lengths.decode(found.code)


# --- files ----------------------------------------------------------------------------------------

@dataclass
class ImageFinder:
    """Which file of a folder an annotation means by a name: exactly, else by its last parts.

    Names of other systems' paths, absolute ones, and other endings or cases are understood; what
    is found lies in the folder.
    """

    folder: Path
    listing: Callable[[Path], list[Path]]       # images below a folder
    _by_end: dict[str, list[Path]] = field(default_factory=dict)

    def find(self, name: str, beside: Path | None = None) -> Path | None:
        """The image file; beside: the folder that the name is relative to, first of all."""
        parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
        if not parts or "\0" in name:
            return None
        for start in filter(None, (beside, self.folder)):
            path = Path(os.path.normpath(start.joinpath(*parts)))
            if _is_below(path, self.folder) and path.is_file():
                return path
        return self._unique(parts)

    def _unique(self, parts: Sequence[str]) -> Path | None:
        if not self._by_end:
            for path in self.listing(self.folder):
                for key in {path.name.lower(), path.stem.lower()}:
                    self._by_end.setdefault(key, []).append(path)
        last = parts[-1].lower()
        found = self._by_end.get(last) or self._by_end.get(os.path.splitext(last)[0]) or []
        for depth in range(1, len(parts) + 1):
            if len(found) == 1:
                return found[0]
            end = [part.lower() for part in parts[-depth - 1:-1]]
            found = [path for path in found
                     if [part.lower() for part in path.parts[-depth - 1:-1]] == end]
        return found[0] if len(found) == 1 else None


def _is_below(path: Path, folder: Path) -> bool:
    whole = os.path.abspath(path)
    return os.path.commonpath([whole, os.path.abspath(folder)]) == os.path.abspath(folder)
