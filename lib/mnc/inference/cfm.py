"""Testing convolutional feature masking: class scores and masks for proposals that are given.

A proposal is looked at at the one of TEST.SCALES where its area is nearest to that of a square of
224 pixels; neighbouring scales share a pass of the net. Boxes stay as proposed. mnc.tasks names
this detector; nobody else imports it but mnc.commands.test, which gives it proposals.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import caffe
from mnc.boxes.overlaps import areas
from mnc.boxes.proposals import with_image_index
from mnc.boxes.regression import filter_small_boxes
from mnc.data.dataset import DataError, Dataset
from mnc.data.images import image_blob, prepare_image
from mnc.data.mcg import load_mat
from mnc.data.names import named_files
from mnc.inference.networks import Nets, as_list, blob_of, joined
from mnc.inference.selection import best_of
from mnc.inference.settings import TestSettings
from mnc.instances import ImageDetections, Raw, Regions
from mnc.masks.targets import input_masks

CANONICAL_AREA = 224 ** 2
MIN_SIDE = 16                # pixels of the image


class ProposalFolder:
    """proposals(i) of a data set from DIR/NAME.mat, as tools/prepare_mcg_maskdb.py writes them."""

    def __init__(self, folder: str | Path, dataset: Dataset) -> None:
        """Raises DataError where the file of any image is missing."""
        self.files = named_files(folder, dataset.names, ".mat")
        missing = [path for path in self.files if not path.is_file()]
        if missing:
            raise DataError(f"{missing[0]}: no proposals of this image, nor of "
                            f"{len(missing) - 1} others; tools/prepare_mcg_maskdb.py makes them, "
                            "--proposals names their folder")

    def __call__(self, i: int) -> Regions:
        path = self.files[i]
        content = load_mat(path, ("boxes", "masks"))
        boxes = np.asarray(content["boxes"], np.float32)
        masks = np.asarray(content["masks"], np.float32)
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise DataError(f"{path}: boxes must be (N, 4), got {boxes.shape}")
        if masks.ndim != 3 or len(masks) != len(boxes):
            raise DataError(f"{path}: {len(boxes)} boxes need masks ({len(boxes)}, S, S), got "
                            f"{masks.shape}")
        return Regions(boxes, masks)


def find_regions(net: Nets, image: np.ndarray, settings: TestSettings,
                 regions: Regions) -> ImageDetections:
    """The regions of an image of a set, by class, from which the set's best are taken.

    image (H, W, 3) uint8 BGR.
    """
    return best_of(cfm_detect(net, image, regions, settings), settings.most)


def cfm_detect(net: Nets, image: np.ndarray, regions: Regions, settings: TestSettings) -> Raw:
    """Class scores and masks of the regions, by one net or several, mirrored too if asked for.

    image (H, W, 3) uint8 BGR.
    """
    chosen = choose(regions, settings.regions.top)
    found = [_read_groups(one, image, chosen, settings) for one in as_list(net)]
    if settings.mirrored:
        width, turned = image.shape[1], image[:, ::-1]
        found += [_read_groups(one, turned, chosen.mirrored(width), settings).mirrored(width)
                  for one in as_list(net)]
    return joined(found)


def choose(regions: Regions, top: int) -> Regions:
    """The first `top` (0: all) of those with sides of MIN_SIDE and more."""
    return regions.rows(filter_small_boxes(regions.boxes, MIN_SIDE)[:top or None])


def nearest_scale(boxes: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """(R,) which of the factors brings the area of each box (R, 4) nearest to CANONICAL_AREA."""
    scaled = areas(boxes)[:, None] * np.square(factors)                             # (R, scales)
    return np.abs(scaled - CANONICAL_AREA).argmin(axis=1)


def _read_groups(net: caffe.Net, image: np.ndarray, regions: Regions,
                 settings: TestSettings) -> Raw:
    passes, size = settings.regions, settings.mask.size
    prepared = [prepare_image(image, settings.pixel_means, side, settings.max_size)
                for side in settings.scales]
    factors = np.array([factor for _, factor in prepared])
    level = nearest_scale(regions.boxes, factors)
    masks = input_masks(regions.masks, passes.input_mask)
    rois = with_image_index((regions.boxes * factors[level, None]).astype(np.float32))
    classes = blob_of(net, "seg_cls_prob").shape[1]
    scores = np.zeros((len(rois), classes), np.float32)
    found = np.zeros((len(rois), size, size), np.float32)
    for number, first in enumerate(range(0, len(prepared), passes.scales)):
        group = slice(first, first + passes.scales)
        data = image_blob([scaled for scaled, _ in prepared[group]])
        most = passes.most[min(number, len(passes.most) - 1)]
        inside = np.flatnonzero((level >= group.start) & (level < group.stop))
        rois[inside, 0] = level[inside] - first
        for rows in _chunks(inside, most):
            found[rows], scores[rows] = _forward(net, data, rois[rows], masks[rows], size)
    return Raw(regions.boxes.astype(np.float32), found, scores)


def _chunks(rows: np.ndarray, most: int) -> Iterator[np.ndarray]:
    return (rows[start:start + most] for start in range(0, len(rows), most))


def _forward(net: caffe.Net, data: np.ndarray, rois: np.ndarray, masks: np.ndarray,
             size: int) -> tuple[np.ndarray, np.ndarray]:
    """Masks (R, S, S) and class scores (R, K)."""
    inputs = {"data": data, "rois": rois, "masks": masks}
    for name, value in inputs.items():
        blob_of(net, name).reshape(*value.shape)
    arrays: dict[str, Any] = dict(inputs)
    net.forward(**arrays)
    return (blob_of(net, "mask_prob").data.reshape(-1, size, size),
            net.blobs["seg_cls_prob"].data)
