"""Masks as images: one file a mask, or one file an image in which every value is an instance.

    ID/images/*.png      ID/masks/*.png             2018 Data Science Bowl (stage1_train)
    images/NAME.jpg      masks/NAME.png             0 is the background, n the n-th instance
    images/NAME.jpg      masks/NAME/*.png           a file a mask
    images/NAME.jpg      masks/NAME_1.png, ...      a file a mask; also NAME-1.png, NAME_mask1.png
    images/NAME.jpg      masks/CLASS/...            any of the three, of this class

The folder of masks may be called mask, labels, annotations or gt. Files with colours (RGB) have an
instance in each colour but black. Where no file has more values than two, they say what is object
and what not: each connected piece is an instance, and touching objects are one.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import find_objects, label

from caffe.extend import decode_image, decode_map, read_file
from mnc.data.dataset import DataError
from mnc.data.folders import images_below, images_in
from mnc.data.images import size_of
from mnc.data.labelled import Faults, LabelledImage, LabelledImages, Shape
from mnc.masks.run_lengths import Code, at, packed

log = logging.getLogger("mnc")

MASK_FOLDERS = ("masks", "mask", "labels", "annotations", "gt")
IMAGE_FOLDERS = ("images", "image", "img", "imgs")
ONE_CLASS = "object"
NUMBERED = re.compile(r"^(?P<image>.*?)(?:[_-]?(?:mask|instance|inst|seg))?[_-]?\d*$")
MOST_VALUES = 20_000                    # instances of an image


@dataclass(frozen=True)
class Found:
    """The mask files of an image: of each class those that are one mask, and those of ids."""

    image: Path
    single: list[tuple[str, Path]]      # class, a file of one mask
    ids: list[tuple[str, Path]]         # class, a file in which every value is an instance


def read(folder: Path, classes: Sequence[str] | None = None, *,
         name: str | None = None) -> LabelledImages:
    """The images of the folder that have masks.

    Raises DataError where no image has any.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    found = list(_kaggle(folder)) or list(_beside(folder))
    if not found:
        raise DataError(f"{folder}: no images with masks: it needs images/NAME.png and "
                        "masks/NAME.png, masks/NAME/*.png or masks/NAME_1.png, or "
                        "ID/images/*.png and ID/masks/*.png")
    without = [str(each.image) for each in found if not each.single and not each.ids]
    if without:
        log.info("%s: %d images without masks are left out: %s%s", folder, len(without),
                 ", ".join(without[:5]), ", ..." if len(without) > 5 else "")
    faults = Faults()
    used = [each for each in found if each.single or each.ids]
    pieces = _are_binary(used, folder, faults)
    images = [LabelledImage(each.image, shapes) for each in used
              if (shapes := _shapes(each, pieces, faults)) is not None]
    only = {cls for each in used for cls, _ in (*each.single, *each.ids)} <= {ONE_CLASS}
    if only and classes and len(classes) == 1:      # the class has a name then
        images = [LabelledImage(image.file, [Shape(classes[0], s.segmentation, where=s.where)
                                             for s in image.shapes]) for image in images]
    names = classes or ([ONE_CLASS] if only else None)
    return LabelledImages(name or f"masks:{folder}", images, names, faults)


# --- which files ----------------------------------------------------------------------------------

def _kaggle(folder: Path) -> Iterator[Found]:
    """ID/images and ID/masks, in this folder or the one in it."""
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        images, masks = place / "images", place / "masks"
        if not images.is_dir():
            continue
        files = images_in(masks) if masks.is_dir() else []
        for image in images_in(images)[:1]:
            yield Found(image, [(ONE_CLASS, file) for file in files], [])


def _beside(folder: Path) -> Iterator[Found]:
    """A folder of images and one of masks."""
    masks = next((folder / each for each in MASK_FOLDERS if (folder / each).is_dir()), None)
    images = next((folder / each for each in IMAGE_FOLDERS if (folder / each).is_dir()), None)
    if masks is None:
        return
    paths = images_below(images) if images else images_in(folder)
    stems = {path.stem for path in paths}
    single: dict[str, list[tuple[str, Path]]] = {stem: [] for stem in stems}
    ids: dict[str, list[tuple[str, Path]]] = {stem: [] for stem in stems}
    for file in images_below(masks):
        inner = file.relative_to(masks).parts[:-1]
        cls = next((part for part in inner if part not in stems), ONE_CLASS)
        owner = next((part for part in inner if part in stems), None)
        whole = file.stem if file.stem in stems else _stripped(file.stem, stems)
        if owner:
            single[owner].append((cls, file))
        elif file.stem in stems:
            ids[file.stem].append((cls, file))
        elif whole:
            single[whole].append((cls, file))
    for path in paths:
        alone = single[path.stem]
        numbered = len(alone) == 1 and alone[0][1].stem.startswith(path.stem) \
            and not alone[0][1].stem[-1].isdigit()           # NAME_mask.png: all of the image
        yield Found(path, [] if numbered else alone, ids[path.stem] + alone * numbered)


def _stripped(stem: str, stems: set[str]) -> str | None:
    """The image that NAME_1, NAME-1, NAME_mask, NAME_mask_1 belong to."""
    match = NUMBERED.match(stem)
    shorter = [match["image"] if match else "", stem.rpartition("_")[0], stem.rpartition("-")[0]]
    return next((each for each in shorter if each in stems), None)


# --- what is in them ------------------------------------------------------------------------------

def _map(file: Path) -> np.ndarray:
    """(H, W) whole numbers: values, or colours as numbers. Raises DataError."""
    try:
        content = read_file(file)
        values = decode_map(content, str(file))
        if values is None:
            colours = decode_image(content, str(file)).astype(np.int64)
            grey = (colours == colours[..., :1]).all()
            values = colours[..., 0] if grey else colours @ np.array([1, 256, 65536])
    except (OSError, ValueError) as error:
        raise DataError(str(error)) from error
    return values.astype(np.int64)


def _are_binary(found: Sequence[Found], folder: Path, faults: Faults) -> bool:
    """Whether files of ids have but one value besides 0, everywhere; said where pieces differ."""
    files = [file for each in found for _, file in each.ids]
    several = False
    for file in files:
        try:
            values = _map(file)
        except DataError:
            continue                            # said when it is read
        if len(np.unique(values[values > 0])) > 1:
            return False
        several |= label(values > 0, np.ones((3, 3), int))[1] > 1
    if several:
        log.warning("%s: no mask has more values than two: each connected piece is taken for an "
                    "instance; objects that touch are one", folder)
    return several


def _shapes(found: Found, pieces: bool, faults: Faults) -> list[Shape] | None:
    """Shapes of the image; None if a file of it cannot be used."""
    try:
        size = size_of(found.image)
        single = [Shape(cls, packed(_fitting(file, size) > 0), where=file.name)
                  for cls, file in found.single]
        return single + [Shape(cls, code, where=f"{file.name}, value {value}")
                         for cls, file in found.ids
                         for value, code in _instances(_fitting(file, size), pieces)]
    except DataError as error:
        faults.setdefault("images whose masks cannot be used", []).append(str(error))
        return None


def _fitting(file: Path, size: tuple[int, int]) -> np.ndarray:
    values = _map(file)
    if values.shape != size:
        raise DataError(f"{file}: {values.shape[1]} x {values.shape[0]} pixels, the image has "
                        f"{size[1]} x {size[0]}")
    return values


def _instances(values: np.ndarray, pieces: bool) -> Iterator[tuple[int, Code]]:
    """(value, run-length code) of each instance."""
    if pieces:
        values, _ = label(values > 0, np.ones((3, 3), int))
    numbers, owner = np.unique(values, return_inverse=True)
    owner = owner.reshape(values.shape)
    if len(numbers) > MOST_VALUES:
        raise DataError(f"a mask of {len(numbers)} values; up to {MOST_VALUES} are instances")
    for k, (number, place) in enumerate(zip(numbers.tolist(), find_objects(owner + 1))):
        if number:
            mask = owner[place] == k
            yield number, at(mask, (place[1].start, place[0].start), values.shape)
