"""Training targets of the mask branch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnc.masks.overlaps import common_window, shared_pixels, window_of
from mnc.masks.rendering import resize

UNKNOWN = -1                    # the label of a mask that has no truth to compare with


@dataclass(frozen=True)
class MaskForm:
    """How masks are stored and read."""
    size: int = 21              # S
    threshold: float = 0.4      # a pixel belongs to the instance where its value reaches this


@dataclass(frozen=True)
class TruthMasks:
    """The masks of the G instances of an image."""
    boxes: np.ndarray           # (G, 4) pixels of the original image, rounded where they are used
    masks: np.ndarray           # (G, h, w) padded
    sizes: np.ndarray           # (G, 2) height and width of each, 0 for one without a mask


@dataclass(frozen=True)
class MaskTargets:
    """Targets of R RoIs of which the first F are foreground."""
    targets: np.ndarray         # (R, 1, S, S) 0 or 1
    weight: np.ndarray          # (R, 1, S, S) 1 for foreground rows whose truth has a mask
    info: np.ndarray            # (R, 12), see mask_targets


def intersect_mask(ex: np.ndarray, gt: np.ndarray, gt_mask: np.ndarray,
                   form: MaskForm = MaskForm()) -> np.ndarray:
    """(S, S) bool: the part of `gt_mask` (whole-pixel box `gt`) that lies in box `ex`."""
    ex, gt = np.asarray(ex), np.asarray(gt)
    window = common_window(ex, gt)
    if window is None:
        return np.zeros((form.size, form.size), bool)
    canvas = np.zeros((ex[3] - ex[1] + 1, ex[2] - ex[0] + 1), np.float32)
    window_of(canvas, ex, window)[...] = window_of(gt_mask, gt, window)
    return resize(canvas, form.size, form.size) >= form.threshold


def mask_targets(rois: np.ndarray, labels: np.ndarray, gt_index: np.ndarray, truth: TruthMasks,
                 form: MaskForm) -> MaskTargets:
    """Targets of `rois` (R, 4) with `labels` (R,), the first F of them foreground.

    rois in pixels of the original image, rounded here; gt_index (F,) the row of truth of each. A
    row of info: index, height and width of the ground truth's mask, label, RoI (4), ground-truth
    box (4); -1 for background. The background of an image in which no truth has a mask has height
    and width 0: nobody has said that there is no mask there.
    """
    size = (len(rois), 1, form.size, form.size)
    targets, weight = np.zeros(size, np.float32), np.zeros(size, np.float32)
    info = np.full((len(rois), 12), -1, np.float32)
    if len(truth.sizes) and not np.any(truth.sizes):
        info[:, 1:3] = 0
    ex, gt = _whole_pixels(rois), _whole_pixels(truth.boxes)
    for row, g in enumerate(gt_index):
        height, width = (int(n) for n in truth.sizes[g])
        info[row] = [g, height, width, labels[row], *ex[row], *gt[g]]
        if height:
            targets[row, 0] = intersect_mask(ex[row], gt[g], truth.masks[g, :height, :width], form)
            weight[row] = 1
    return MaskTargets(targets, weight, info)


def mask_labels(masks: np.ndarray, gt_masks: np.ndarray, info: np.ndarray, form: MaskForm,
                min_overlap: float = 0.5) -> np.ndarray:
    """(R,) class of each predicted mask: its ground truth's if the two overlap enough, else 0.

    masks (R, S, S); gt_masks (G, h, w) padded; info (R, 12) as MaskTargets has it. Where there is
    no mask to compare with the label is UNKNOWN, which the loss ignores.
    """
    labels = np.where(info[:, 1] == 0, UNKNOWN, 0).astype(np.float32)
    to_compare = (info[:, 0] >= 0) & (info[:, 1] > 0)
    for g in np.unique(info[to_compare, 0]).astype(int):
        rows = np.where(to_compare & (info[:, 0] == g))[0]
        height, width = info[rows[0], 1:3].astype(int)
        ex, gt = info[rows, 4:8].astype(int), info[rows[0], 8:12].astype(int)
        truth = gt_masks[g, :height, :width] > 0
        area = np.count_nonzero(truth)
        for row, box in zip(rows, ex):
            x1, y1, x2, y2 = box
            predicted = resize(masks[row], y2 - y1 + 1, x2 - x1 + 1) >= form.threshold
            both = shared_pixels(box, predicted, gt, truth)
            either = np.count_nonzero(predicted) + area - both
            if (both / either if both else 0) >= min_overlap:
                labels[row] = info[row, 3]
    return labels


def input_masks(masks: np.ndarray, form: MaskForm) -> np.ndarray:
    """(R, 1, s, s) 0 or 1, input of a CFM net: masks (R, S, S) resized and cut at the threshold."""
    cut = [resize(mask, form.size, form.size) >= form.threshold for mask in masks]
    return np.array(cut, np.float32).reshape(-1, 1, form.size, form.size)


def _whole_pixels(boxes: np.ndarray) -> np.ndarray:
    return np.around(boxes).astype(int)
