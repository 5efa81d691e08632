"""What a data set is: names, images, annotations; and the checks each annotation must pass."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from tqdm import tqdm

log = logging.getLogger("mnc")


class DataError(ValueError):
    """An image, annotation or list that cannot be used; the message names file and fault."""


@dataclass(frozen=True)
class Annotation:
    """The instances of one image.

    boxes (G, 4) float32 x1 y1 x2 y2, inclusive pixels; labels (G,) int, 1..K-1; masks: G arrays
    (h, w) bool, each the size of its box; size (H, W) of the image, None where unknown.
    """

    boxes: np.ndarray
    labels: np.ndarray
    masks: list[np.ndarray]
    size: tuple[int, int] | None = None


class Dataset(Protocol):
    """Image i is names[i]; classes[0] is '__background__'."""

    name: str
    classes: tuple[str, ...]
    names: Sequence[str]

    def __len__(self) -> int: ...

    def image_path(self, i: int) -> str: ...

    def image(self, i: int) -> np.ndarray:
        """(H, W, 3) uint8 BGR"""

    def annotation(self, i: int) -> Annotation: ...


def check_annotation(where: str, found: Annotation, num_classes: int,
                     size: tuple[int, int]) -> None:
    """Raise DataError unless boxes lie in this (height, width) and masks and labels fit."""
    height, width = size
    if found.size not in (None, tuple(size)):
        raise DataError(f"{where}: masks are for {found.size[1]} x {found.size[0]} pixels, "
                        f"the image has {width} x {height}")
    if not len(found.boxes) == len(found.labels) == len(found.masks):
        raise DataError(f"{where}: {len(found.boxes)} boxes, {len(found.labels)} labels and "
                        f"{len(found.masks)} masks; each instance needs one of each")
    rows = zip(found.boxes, found.labels, found.masks)
    for k, (box, label, mask) in enumerate(rows, start=1):
        x1, y1, x2, y2 = (float(v) for v in box)
        if not (0 <= x1 <= x2 <= width - 1 and 0 <= y1 <= y2 <= height - 1):
            raise DataError(f"{where}: box ({x1:g}, {y1:g}, {x2:g}, {y2:g}) of instance {k} is not "
                            f"inside the image of {width} x {height} pixels")
        if not 1 <= label < num_classes:
            raise DataError(f"{where}: label {label} of instance {k} is not in "
                            f"1..{num_classes - 1}")
        if mask.shape != (y2 - y1 + 1, x2 - x1 + 1):
            raise DataError(f"{where}: the mask of instance {k} has shape {mask.shape}, its box "
                            f"asks for ({y2 - y1 + 1:g}, {x2 - x1 + 1:g})")


class Subset:
    """Some images of a data set, by index."""

    def __init__(self, whole: Dataset, indices: Sequence[int]) -> None:
        self.whole, self.indices = whole, list(indices)
        self.name, self.classes = whole.name, whole.classes
        self.names = [whole.names[i] for i in self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def image_path(self, i: int) -> str:
        return self.whole.image_path(self.indices[i])

    def image(self, i: int) -> np.ndarray:
        return self.whole.image(self.indices[i])

    def annotation(self, i: int) -> Annotation:
        return self.whole.annotation(self.indices[i])


class Joined:
    """Several data sets of the same classes, one after the other."""

    def __init__(self, parts: Sequence[Dataset]) -> None:
        self.name, self.classes = "+".join(part.name for part in parts), parts[0].classes
        if len({part.classes for part in parts}) > 1:
            raise DataError(f"{self.name}: data sets of different classes cannot be joined")
        self.names = [name for part in parts for name in part.names]
        self.places = [(part, i) for part in parts for i in range(len(part))]

    def __len__(self) -> int:
        return len(self.places)

    def image_path(self, i: int) -> str:
        part, k = self.places[i]
        return part.image_path(k)

    def image(self, i: int) -> np.ndarray:
        part, k = self.places[i]
        return part.image(k)

    def annotation(self, i: int) -> Annotation:
        part, k = self.places[i]
        return part.annotation(k)


def with_progress(indices: Sequence, doing: str, progress: bool) -> Iterable:
    """The indices, with a bar of images if asked for."""
    return tqdm(indices, desc=doing, unit="image", mininterval=1, disable=not progress)


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
    """The data set less what cannot be used; one warning says which images, and why."""
    bad = problems(dataset, progress=progress)
    if not bad:
        return dataset
    log.warning("%s: dropped %d of %d images:\n%s", dataset.name, len(bad), len(dataset),
                "\n".join("  " + reason for reason in bad.values()))
    if len(bad) == len(dataset):
        raise DataError(f"{dataset.name}: none of the {len(dataset)} images can be used; "
                        f"the first: {bad[0]}")
    return Subset(dataset, [i for i in range(len(dataset)) if i not in bad])
