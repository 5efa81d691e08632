"""The data bases of RoIs and masks that the data layers read: one entry an image.

An entry of the roidb: image (path), width, height, boxes (G, 4) float32, gt_classes (G,),
gt_overlaps (sparse (G, K), 1 at the class of each box), max_classes, max_overlaps, flipped.
Of the maskdb: gt_masks (G arrays (h, w) bool), mask_max (widest, tallest), flipped.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import scipy.sparse

from mnc.data.dataset import Annotation, Dataset, check_annotation, with_progress

log = logging.getLogger("mnc")
Entry = dict[str, Any]


def prepare(dataset: Dataset, use_flipped: bool = True, *,
            progress: bool = False) -> tuple[list[Entry], list[Entry]]:
    """(roidb, maskdb) of the images with an instance; with use_flipped all again, mirrored."""
    roidb, maskdb = [], []
    for i in with_progress(range(len(dataset)), f"reading {dataset.name}", progress):
        found = dataset.annotation(i)
        size = found.size or dataset.image(i).shape[:2]
        check_annotation(f"{dataset.name}, {dataset.names[i]}", found, len(dataset.classes), size)
        if not len(found.labels):
            continue
        roidb.append(roi_entry(dataset.image_path(i), found, size, len(dataset.classes)))
        maskdb.append(mask_entry(found.masks))
    if len(roidb) < len(dataset):
        log.info("%s: left out %d images without an instance", dataset.name,
                 len(dataset) - len(roidb))
    if use_flipped:
        maskdb += [mirrored_masks(entry) for entry in maskdb]
        roidb += [mirrored_rois(entry) for entry in roidb]
    return roidb, maskdb


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


def mask_entry(masks: list[np.ndarray]) -> Entry:
    """The maskdb entry of one image."""
    widest, tallest = (max(mask.shape[axis] for mask in masks) for axis in (1, 0))
    return {"gt_masks": masks, "mask_max": [widest, tallest], "flipped": False}


def mirrored_rois(entry: Entry) -> Entry:
    """The entry of the image mirrored left to right: x' = width - x - 1."""
    boxes = entry["boxes"].copy()
    boxes[:, [0, 2]] = entry["width"] - entry["boxes"][:, [2, 0]] - 1
    return {**entry, "boxes": boxes, "flipped": True}


def mirrored_masks(entry: Entry) -> Entry:
    """The entry with its masks mirrored left to right."""
    return {**entry, "gt_masks": [mask[:, ::-1] for mask in entry["gt_masks"]], "flipped": True}
