"""The data bases of RoIs and masks that the data layers read: one entry an image.

An entry of the roidb: image (path), name, width, height, boxes (G, 4) float32, gt_classes (G,),
gt_overlaps (sparse (G, K), 1 at the class of each box), max_classes, max_overlaps, flipped.
Of the maskdb: gt_masks (G arrays (h, w) bool, None for an instance without a mask), mask_max
(widest, tallest), flipped.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse

from mnc.data.dataset import (
    Annotation,
    DataError,
    Dataset,
    check_image,
    faults,
    listed,
    with_progress,
)

log = logging.getLogger("mnc")
Entry = dict[str, Any]

KEEP_MASKS = 2_000_000_000      # bytes of masks to hold in memory; the others are read when needed


class MaskDB(Sequence[Entry]):
    """The maskdb: each entry is either held, or made anew whenever it is asked for."""

    def __init__(self, entries: Iterable[Entry | Callable[[], Entry]]) -> None:
        self._entries = list(entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, k: Any) -> Any:       # an entry, or a MaskDB for a slice
        if isinstance(k, slice):
            return MaskDB(self._entries[k])
        entry = self._entries[k]
        return entry() if callable(entry) else entry

    def rows(self, indices: Sequence[int]) -> MaskDB:
        """Some of the entries."""
        return MaskDB(self._entries[i] for i in indices)

    def mirrored(self) -> MaskDB:
        """The masks of the mirrored images."""
        return MaskDB(partial(_mirrored, entry) if callable(entry) else mirrored_masks(entry)
                      for entry in self._entries)

    def __add__(self, other: MaskDB) -> MaskDB:
        return MaskDB(self._entries + other._entries)


def prepare(dataset: Dataset, use_flipped: bool = True, *,
            progress: bool | None = None) -> tuple[list[Entry], MaskDB]:
    """(roidb, maskdb) of the images with an instance; with use_flipped all again, mirrored.

    Difficult instances and crowds are not trained on. What cannot be used is left out, and one
    warning says what and why. progress None: a bar on a terminal.

    Raises DataError where no image is left.
    """
    progress = sys.stderr.isatty() if progress is None else progress
    roidb, maskdb, wrong = [], [], []
    empty = held = 0
    for i in with_progress(range(len(dataset)), f"reading {dataset.name}", progress):
        try:
            found, size = _read(dataset, i)
        except DataError as error:
            wrong.append(str(error))
            continue
        bad = faults(found, len(dataset.classes), size)
        wrong += [f"{dataset.names[i]}: {fault}" for fault in bad.values()]
        keep = ~found.ignored
        keep[list(bad)] = False
        found = found.rows(keep)
        if not len(found.labels):
            empty += 1
            continue
        entry = roi_entry(dataset.image_path(i), found, size, len(dataset.classes))
        roidb.append({**entry, "name": dataset.names[i]})
        held += sum(mask.size for mask in found.mask_list if mask is not None)
        maskdb.append(mask_entry(found.mask_list) if held <= KEEP_MASKS
                      else partial(_masks_again, dataset, i, keep))
    if wrong:
        log.warning("%s: %d images or instances cannot be used and are left out:\n%s",
                    dataset.name, len(wrong), listed(wrong))
    if empty:
        log.info("%s: left out %d images without an instance", dataset.name, empty)
    if not roidb:
        raise DataError(f"{dataset.name}: no image with an instance to train on"
                        f"{'; the first fault: ' + wrong[0] if wrong else ''}")
    if not use_flipped:
        return roidb, MaskDB(maskdb)
    return roidb + [mirrored_rois(e) for e in roidb], MaskDB(maskdb) + MaskDB(maskdb).mirrored()


def _read(dataset: Dataset, i: int) -> tuple[Annotation, tuple[int, int]]:
    """The annotation of image i and its (height, width); DataError if one of them is missing."""
    if not os.path.isfile(dataset.image_path(i)):
        raise DataError(f"{dataset.image_path(i)}: no such image file")
    found = dataset.annotation(i)
    size = found.size or dataset.image(i).shape[:2]
    check_image(f"{dataset.name}, {dataset.names[i]}", found, size)
    return found, size


def _masks_again(dataset: Dataset, i: int, keep: np.ndarray) -> Entry:
    return mask_entry(dataset.annotation(i).rows(keep).mask_list)


def _mirrored(entry: Callable[[], Entry]) -> Entry:
    return mirrored_masks(entry())


def roi_entry(image: str, found: Annotation, size: tuple[int, int], num_classes: int) -> Entry:
    """The roidb entry of one image of this (height, width)."""
    rows = np.arange(len(found.labels))
    overlaps = np.zeros((len(rows), num_classes), np.float32)
    overlaps[rows, found.labels] = 1
    return {"image": image, "width": int(size[1]), "height": int(size[0]), "flipped": False,
            "boxes": found.boxes.astype(np.float32), "gt_classes": found.labels.astype(np.int32),
            "gt_overlaps": scipy.sparse.csr_array(overlaps),
            "max_classes": found.labels.astype(np.int64),
            "max_overlaps": np.ones(len(rows), np.float32)}


def mask_entry(masks: list[np.ndarray | None]) -> Entry:
    """The maskdb entry of one image. masks: one (h, w) bool an instance, or None."""
    sizes = [mask.shape for mask in masks if mask is not None] or [(1, 1)]
    tallest, widest = (max(side) for side in zip(*sizes))
    return {"gt_masks": masks, "mask_max": [widest, tallest], "flipped": False}


def mirrored_rois(entry: Entry) -> Entry:
    """The entry of the image mirrored left to right: x' = width - x - 1."""
    boxes = entry["boxes"].copy()
    boxes[:, [0, 2]] = entry["width"] - entry["boxes"][:, [2, 0]] - 1
    return {**entry, "boxes": boxes, "flipped": True}


def mirrored_masks(entry: Entry) -> Entry:
    """The entry with its masks mirrored left to right."""
    masks = [None if mask is None else mask[:, ::-1] for mask in entry["gt_masks"]]
    return {**entry, "gt_masks": masks, "flipped": True}
