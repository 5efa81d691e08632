"""Training RoIs of convolutional feature masking: a sample of given regions, with their targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mnc.boxes.regression import bbox_transform
from mnc.instances import TrainingRegions
from mnc.masks.targets import MaskForm, input_masks
from mnc.sampling.proposal_targets import OverlapBin, TargetForm, sample_bins, spread_over_classes


@dataclass(frozen=True)
class RegionSampling:
    """How many regions are taken from where, and which of them are foreground."""
    batch_size: int
    bins: Sequence[OverlapBin]  # fractions of the batch
    fg_det: float = 0.5         # box overlap from which a region has the label of its instance
    fg_seg: float = 0.5         # mask overlap from which its mask has it


@dataclass(frozen=True)
class BoxStatistics:
    """Of the box targets of each class."""
    means: np.ndarray           # (K, 4)
    stds: np.ndarray            # (K, 4)


@dataclass(frozen=True)
class RegionTargets:
    """R training regions, the foreground first."""
    rois: np.ndarray                    # (R, 5)
    masks: np.ndarray                   # (R, 1, s, s) 0 or 1, input of the net
    box_labels: np.ndarray              # (R, 1)
    mask_labels: np.ndarray             # (R, 1)
    bbox_targets: np.ndarray            # (R, 4K)
    mask_targets: np.ndarray            # (R, 1, S, S)
    bbox_inside_weights: np.ndarray     # (R, 4K)
    bbox_outside_weights: np.ndarray    # (R, 4K)
    mask_weight: np.ndarray             # (R, 1, S, S)


def region_targets(regions: TrainingRegions, im_scale: float, sampling: RegionSampling,
                   statistics: BoxStatistics, inside_weights: tuple[float, ...],
                   input_mask: MaskForm) -> RegionTargets:
    """Sample the regions of an image that the net sees at im_scale.

    Random draws: one for every bin that holds any region, even if all are taken. input_mask: size
    and threshold of the masks that go into the net.
    """
    taken = sample_bins(regions.det_overlap, sampling.bins, sampling.batch_size)
    is_fg = regions.det_overlap[taken] >= sampling.fg_det
    keep, num_fg = np.concatenate((taken[is_fg], taken[~is_fg])), int(is_fg.sum())
    labels = regions.labels[keep].astype(np.float32)
    labels[num_fg:] = 0
    boxes = regions.boxes * im_scale
    deltas = np.zeros((len(keep), 4), np.float32)
    fg = keep[:num_fg]
    classes = labels[:num_fg].astype(int)
    targets = bbox_transform(boxes[fg], boxes[regions.assignment[fg]])
    deltas[:num_fg] = (targets - statistics.means[classes]) / statistics.stds[classes]
    form = TargetForm(len(statistics.means), None, inside_weights)
    bbox_targets, inside = spread_over_classes(labels, deltas, form)
    mask_targets = regions.mask_targets[keep][:, None].astype(np.float32)
    weight = np.zeros_like(mask_targets)
    weight[:num_fg] = 1
    rois = np.hstack((np.zeros((len(keep), 1)), boxes[keep])).astype(np.float32)
    return RegionTargets(
        rois, input_masks(regions.masks[keep], input_mask), labels[:, None],
        np.where(regions.seg_overlap[keep] >= sampling.fg_seg, labels, 0)[:, None],
        bbox_targets, mask_targets, inside, (inside > 0).astype(np.float32), weight)


def box_deltas(boxes: np.ndarray, det_overlap: np.ndarray, labels: np.ndarray,
               assignment: np.ndarray, min_overlap: float) -> tuple[np.ndarray, np.ndarray]:
    """(class (n,), deltas (n, 4)) of the regions that overlap their instance enough."""
    rows = np.flatnonzero((det_overlap >= min_overlap) & (assignment >= 0))
    return labels[rows].astype(int), bbox_transform(boxes[rows], boxes[assignment[rows]])


def box_statistics(classes: np.ndarray, deltas: np.ndarray, num_classes: int,
                   mirrored: bool = False) -> BoxStatistics:
    """Mean and standard deviation by class of deltas (n, 4); 0 and 1 for a class without any.

    A deviation of next to nothing, as of a single delta, counts as 1: it must not blow up targets.

    mirrored: every delta counts a second time, as the mirrored image has it.
    """
    if mirrored:
        classes = np.concatenate((classes, classes))
        deltas = np.concatenate((deltas, deltas * (-1, 1, 1, 1)))
    means, stds = np.zeros((num_classes, 4)), np.ones((num_classes, 4))
    for c in np.unique(classes):
        means[c] = deltas[classes == c].mean(axis=0)
        found = deltas[classes == c].std(axis=0)
        stds[c] = np.where(found < 1e-3, 1, found)
    return BoxStatistics(means, stds)
