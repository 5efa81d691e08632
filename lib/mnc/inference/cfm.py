"""Testing convolutional feature masking: class scores and masks for proposals that are given.

A proposal is looked at at the one of TEST.SCALES where its area is nearest to that of a square of
224 pixels; neighbouring scales share a pass of the net. Boxes stay as proposed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mnc.boxes.overlaps import areas
from mnc.boxes.proposals import with_image_index
from mnc.boxes.regression import filter_small_boxes
from mnc.data.dataset import DataError
from mnc.data.images import image_blob, prepare_image
from mnc.data.mcg import load_mat
from mnc.instances import Raw, as_list, blob_of, joined, mirrored_boxes
from mnc.masks.targets import MaskForm
from mnc.sampling.cfm_targets import input_masks

CANONICAL_AREA = 224 ** 2
MIN_SIDE = 16                # pixels of the image


@dataclass(frozen=True)
class Proposals:
    """Regions of one image, best first."""

    boxes: np.ndarray        # (R, 4)
    masks: np.ndarray        # (R, S, S), over the box

    def __len__(self) -> int:
        return len(self.boxes)

    def rows(self, index: np.ndarray | slice) -> Proposals:
        return Proposals(self.boxes[index], self.masks[index])

    def mirrored(self, width: int) -> Proposals:
        return Proposals(mirrored_boxes(self.boxes, width), self.masks[..., ::-1])


class ProposalFolder:
    """proposals(i) of a data set from DIR/NAME.mat, as tools/prepare_mcg_maskdb.py writes them."""

    def __init__(self, folder: str | Path, dataset) -> None:
        self.files = [Path(folder) / f"{name}.mat" for name in dataset.names]
        missing = [path for path in self.files if not path.is_file()]
        if missing:
            raise DataError(f"{missing[0]}: no proposals of this image, nor of "
                            f"{len(missing) - 1} others; tools/prepare_mcg_maskdb.py makes them, "
                            "--proposals names their folder")

    def __call__(self, i: int) -> Proposals:
        path = self.files[i]
        content = load_mat(path, ("boxes", "masks"))
        boxes = np.asarray(content["boxes"], np.float32)
        masks = np.asarray(content["masks"], np.float32)
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise DataError(f"{path}: boxes must be (N, 4), got {boxes.shape}")
        if masks.ndim != 3 or len(masks) != len(boxes):
            raise DataError(f"{path}: {len(boxes)} boxes need masks ({len(boxes)}, S, S), got "
                            f"{masks.shape}")
        return Proposals(boxes, masks)


def cfm_detect(net, image: np.ndarray, proposals: Proposals, cfg) -> Raw:
    """Class scores and masks of the proposals, by one net or several, mirrored too if asked for."""
    chosen = choose(proposals, cfg.TEST.USE_TOP_K_MCG)
    found = [_read_groups(one, image, chosen, cfg) for one in as_list(net)]
    if cfg.TEST.USE_FLIPPED:
        width = image.shape[1]
        found += [_read_groups(one, image[:, ::-1], chosen.mirrored(width), cfg).mirrored(width)
                  for one in as_list(net)]
    return joined(found)


def choose(proposals: Proposals, top: int) -> Proposals:
    """The first `top` (0: all) of those with sides of MIN_SIDE and more."""
    return proposals.rows(filter_small_boxes(proposals.boxes, MIN_SIDE)[:top or None])


def nearest_scale(boxes: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """(R,) which of the factors brings the area of each box (R, 4) nearest to CANONICAL_AREA."""
    scaled = areas(boxes)[:, None] * np.square(factors)                             # (R, scales)
    return np.abs(scaled - CANONICAL_AREA).argmin(axis=1)


def _read_groups(net, image: np.ndarray, proposals: Proposals, cfg) -> Raw:
    test, size = cfg.TEST, cfg.MASK_SIZE
    prepared = [prepare_image(image, cfg.PIXEL_MEANS, side, test.MAX_SIZE) for side in test.SCALES]
    factors = np.array([factor for _, factor in prepared])
    level = nearest_scale(proposals.boxes, factors)
    masks = input_masks(proposals.masks, MaskForm(test.CFM_INPUT_MASK_SIZE, cfg.BINARIZE_THRESH))
    rois = with_image_index((proposals.boxes * factors[level, None]).astype(np.float32))
    classes = blob_of(net, "seg_cls_prob").shape[1]
    scores = np.zeros((len(rois), classes), np.float32)
    found = np.zeros((len(rois), 1, size, size), np.float32)
    for number, first in enumerate(range(0, len(prepared), test.GROUP_SCALE)):
        group = slice(first, first + test.GROUP_SCALE)
        data = image_blob([scaled for scaled, _ in prepared[group]])
        most = test.MAX_ROIS_GPU[min(number, len(test.MAX_ROIS_GPU) - 1)]
        inside = np.flatnonzero((level >= group.start) & (level < group.stop))
        rois[inside, 0] = level[inside] - first
        for rows in _chunks(inside, most):
            found[rows], scores[rows] = _forward(net, data, rois[rows], masks[rows], size)
    return Raw(proposals.boxes.astype(np.float32), found, scores)


def _chunks(rows: np.ndarray, most: int) -> Iterator[np.ndarray]:
    return (rows[start:start + most] for start in range(0, len(rows), most))


def _forward(net, data: np.ndarray, rois: np.ndarray, masks: np.ndarray,
             size: int) -> tuple[np.ndarray, np.ndarray]:
    """Masks (R, 1, S, S) and class scores (R, K)."""
    inputs = {"data": data, "rois": rois, "masks": masks}
    for name, value in inputs.items():
        blob_of(net, name).reshape(*value.shape)
    net.forward(**inputs)
    return (blob_of(net, "mask_prob").data.reshape(-1, 1, size, size),
            net.blobs["seg_cls_prob"].data)
