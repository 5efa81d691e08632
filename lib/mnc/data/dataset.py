"""What a data set is: names, images, annotations; and the checks each annotation must pass."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from tqdm import tqdm

log = logging.getLogger("mnc")


class DataError(ValueError):
    """An image, annotation or list that cannot be used; the message names file and fault."""


@dataclass(frozen=True)
class Annotation:
    """The G instances of one image.

    boxes (G, 4) float32 x1 y1 x2 y2, inclusive pixels; labels (G,) int, 1..K-1.
    masks: G arrays (h, w) bool, each the size of its box, None for an instance without a mask; or
    None: no instance has one.
    size (H, W) of the image, None where unknown.
    difficult, crowd (G,) bool, none by default: such instances are not trained on; evaluation
    neither wants them found nor minds if they are. areas (G,): None for those of masks or boxes.
    """

    boxes: np.ndarray
    labels: np.ndarray
    masks: list[np.ndarray | None] | None
    size: tuple[int, int] | None = None
    difficult: np.ndarray = None        # type: ignore[assignment]
    crowd: np.ndarray = None            # type: ignore[assignment]
    areas: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name in ("difficult", "crowd"):
            given = getattr(self, name)
            flags = np.zeros(len(self.labels), bool) if given is None else np.asarray(given, bool)
            object.__setattr__(self, name, flags)

    @property
    def has_mask(self) -> np.ndarray:
        """(G,) bool"""
        return np.array([mask is not None for mask in self.mask_list], bool)

    @property
    def mask_list(self) -> list[np.ndarray | None]:
        """G masks, None where there is none."""
        return [None] * len(self.labels) if self.masks is None else self.masks

    @property
    def ignored(self) -> np.ndarray:
        """(G,) bool: difficult or crowd"""
        return self.difficult | self.crowd

    def instance_areas(self) -> np.ndarray:
        """(G,) areas as given, else pixels of the mask, else of the box."""
        if self.areas is not None:
            return np.asarray(self.areas, float)
        sides = self.boxes[:, 2:] - self.boxes[:, :2] + 1
        return np.array([float(w * h) if mask is None else float(mask.sum())
                         for (w, h), mask in zip(sides, self.mask_list)])

    def rows(self, keep: np.ndarray) -> Annotation:
        """Some of the instances: `keep` are row numbers or a mask (G,) bool."""
        keep = np.arange(len(self.labels))[keep]
        masks = None if self.masks is None else [self.masks[k] for k in keep]
        areas = None if self.areas is None else np.asarray(self.areas)[keep]
        return replace(self, boxes=self.boxes[keep], labels=self.labels[keep], masks=masks,
                       difficult=self.difficult[keep], crowd=self.crowd[keep], areas=areas)


class Dataset(Protocol):
    """Image i is names[i]; classes[0] is '__background__'.

    COCO files have numbers of their own for images and categories: see image_ids, category_ids.
    """

    name: str
    classes: tuple[str, ...]

    @property
    def names(self) -> Sequence[str]: ...

    def __len__(self) -> int: ...

    def image_path(self, i: int) -> str: ...

    def image(self, i: int) -> np.ndarray:
        """(H, W, 3) uint8 BGR"""

    def annotation(self, i: int) -> Annotation: ...


def image_ids(dataset: Dataset) -> list[int]:
    """The number of each image in COCO results: the file's own for COCO data, else from 1."""
    return list(getattr(dataset, "image_ids", range(1, len(dataset) + 1)))


def category_ids(dataset: Dataset) -> list[int]:
    """The number in COCO results of classes 1..K-1: the file's own for COCO data, else 1..K-1."""
    return list(getattr(dataset, "category_ids", range(1, len(dataset.classes))))


def check_annotation(where: str, found: Annotation, num_classes: int,
                     size: tuple[int, int]) -> None:
    """Raise DataError unless boxes lie in this (height, width) and masks and labels fit."""
    check_image(where, found, size)
    for _, fault in faults(found, num_classes, size).items():
        raise DataError(f"{where}: {fault}")


def check_image(where: str, found: Annotation, size: tuple[int, int]) -> None:
    """Raise DataError unless this is the annotation of an image of this (height, width)."""
    height, width = size
    if found.size not in (None, tuple(size)):
        raise DataError(f"{where}: masks are for {found.size[1]} x {found.size[0]} pixels, "
                        f"the image has {width} x {height}")
    if not len(found.boxes) == len(found.labels) == len(found.mask_list):
        raise DataError(f"{where}: {len(found.boxes)} boxes, {len(found.labels)} labels and "
                        f"{len(found.mask_list)} masks; each instance needs one of each")


def faults(found: Annotation, num_classes: int, size: tuple[int, int]) -> dict[int, str]:
    """{row: what is wrong} for the instances that cannot be used in an image of this size."""
    checked = ((k, _fault(k + 1, box, label, mask, num_classes, size)) for k, (box, label, mask)
               in enumerate(zip(found.boxes, found.labels, found.mask_list)))
    return {k: fault for k, fault in checked if fault}


def _fault(number: int, box: np.ndarray, label: int, mask: np.ndarray | None, num_classes: int,
           size: tuple[int, int]) -> str | None:
    (height, width), (x1, y1, x2, y2) = size, (float(v) for v in box)
    if not (0 <= x1 <= x2 <= width - 1 and 0 <= y1 <= y2 <= height - 1):
        return (f"box ({x1:g}, {y1:g}, {x2:g}, {y2:g}) of instance {number} is not inside the "
                f"image of {width} x {height} pixels")
    if not 1 <= label < num_classes:
        return f"label {label} of instance {number} is not in 1..{num_classes - 1}"
    if mask is not None and mask.shape != (y2 - y1 + 1, x2 - x1 + 1):
        return (f"the mask of instance {number} has shape {mask.shape}, its box asks for "
                f"({y2 - y1 + 1:g}, {x2 - x1 + 1:g})")
    return None


def listed(reasons: Sequence[str], most: int = 20) -> str:
    """The reasons, a line each; of many the first only, and how many more there are."""
    lines = [f"  {reason}" for reason in reasons[:most]]
    if len(reasons) > most:
        lines.append(f"  ... and {len(reasons) - most} more")
    return "\n".join(lines)


class Subset:
    """Some images of a data set, by index."""

    def __init__(self, whole: Dataset, indices: Sequence[int]) -> None:
        self.whole, self.indices = whole, list(indices)
        self.name, self.classes = whole.name, whole.classes
        self.names = [whole.names[i] for i in self.indices]
        self.image_ids = [image_ids(whole)[i] for i in self.indices]
        self.category_ids = category_ids(whole)

    def __len__(self) -> int:
        return len(self.indices)

    def image_path(self, i: int) -> str:
        return self.whole.image_path(self.indices[i])

    def image(self, i: int) -> np.ndarray:
        """(H, W, 3) uint8 BGR"""
        return self.whole.image(self.indices[i])

    def annotation(self, i: int) -> Annotation:
        return self.whole.annotation(self.indices[i])


class Joined:
    """Several data sets of the same classes, one after the other."""

    def __init__(self, parts: Sequence[Dataset]) -> None:
        self.name, self.classes = "+".join(part.name for part in parts), parts[0].classes
        for part in parts[1:]:
            if part.classes != self.classes:
                raise DataError(f"{self.name}: data sets of different classes cannot be joined; "
                                f"{parts[0].name} has {', '.join(self.classes[1:])}; "
                                f"{part.name} has {', '.join(part.classes[1:])}")
        self.names = [name for part in parts for name in part.names]
        self.places = [(part, i) for part in parts for i in range(len(part))]

    def __len__(self) -> int:
        return len(self.places)

    def image_path(self, i: int) -> str:
        part, k = self.places[i]
        return part.image_path(k)

    def image(self, i: int) -> np.ndarray:
        """(H, W, 3) uint8 BGR"""
        part, k = self.places[i]
        return part.image(k)

    def annotation(self, i: int) -> Annotation:
        part, k = self.places[i]
        return part.annotation(k)


def with_progress(indices: Sequence, doing: str, progress: bool) -> Iterable:
    """The indices, with a bar of images if asked for, on a terminal."""
    return tqdm(indices, desc=doing, unit="image", mininterval=1,
                disable=None if progress else True)


def problems(dataset: Dataset, *, progress: bool = False) -> dict[int, str]:
    """Read every image and annotation; {index: what is wrong} for those that cannot be used."""
    found = {}
    for i in with_progress(range(len(dataset)), f"checking {dataset.name}", progress):
        try:
            size, annotation = dataset.image(i).shape[:2], dataset.annotation(i)
            check_annotation(dataset.names[i], annotation, len(dataset.classes), size)
        except DataError as error:
            found[i] = str(error)
    return found


def without_problems(dataset: Dataset, *, progress: bool = False) -> Dataset:
    """The data set less what cannot be used; one warning says which images, and why.

    Raises DataError where nothing is left.
    """
    bad = problems(dataset, progress=progress)
    if not bad:
        return dataset
    log.warning("%s: dropped %d of %d images:\n%s", dataset.name, len(bad), len(dataset),
                listed(list(bad.values())))
    if len(bad) == len(dataset):
        raise DataError(f"{dataset.name}: none of the {len(dataset)} images can be used; "
                        f"the first: {bad[0]}")
    return Subset(dataset, [i for i in range(len(dataset)) if i not in bad])
