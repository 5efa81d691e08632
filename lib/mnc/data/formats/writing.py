"""What writers of formats share: copies of the images, and the instances one by one."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from mnc.data.dataset import Annotation, DataError, Dataset
from mnc.data.images import size_of
from mnc.data.names import relative_files, relative_name

log = logging.getLogger("mnc")


def target_files(dataset: Dataset) -> list[str]:
    """A relative path for each image: that below the folder of all, no two alike in any case."""
    taken: set[str] = set()
    found = []
    for file in relative_files([dataset.image_path(i) for i in range(len(dataset))]):
        stem, ending = os.path.splitext(relative_name(file))
        name, count = stem, 1
        while name.lower() in taken:
            count += 1
            name = f"{stem}_{count}"
        taken.add(name.lower())
        found.append(f"{name}{ending.lower()}")
    return found


def copied_images(dataset: Dataset, folder: Path, *, flat: bool = False) -> Iterator[Path]:
    """Each image copied into the folder, one after the other: its path there.

    One annotated as it lies in a file that other programs turn upright is written anew, as PNG.
    flat: no folders below it. Raises OSError; DataError for an image that cannot be read, and
    where it would be written over itself.
    """
    for i, name in enumerate(tqdm(target_files(dataset), desc="copying", unit="image",
                                  disable=None)):
        source = Path(dataset.image_path(i))
        target = folder / (name.replace("/", "__") if flat else name)
        size = dataset.annotation(i).size
        lies = size is not None and size != size_of(source)
        target = target.with_suffix(".png") if lies else target
        if target.exists() and target.samefile(source):
            raise DataError(f"{folder}: {source} lies there; name another folder to write to")
        target.parent.mkdir(parents=True, exist_ok=True)
        if lies:
            target.write_bytes(cv2.imencode(".png", dataset.image(i))[1].tobytes())
        else:
            shutil.copyfile(source, target)
        yield target


def instances_of(found: Annotation, classes: Sequence[str]
                 ) -> Iterator[tuple[str, np.ndarray | None, list[float]]]:
    """(name, mask (h, w) of its box or None, box x1 y1 x2 y2); crowds and difficult ones not."""
    for label, mask, box, ignored in zip(found.labels, found.mask_list, found.boxes.tolist(),
                                         found.ignored):
        if not ignored:
            yield classes[label], mask, box
