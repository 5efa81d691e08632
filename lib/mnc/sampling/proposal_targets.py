"""Training RoIs: a sample of the proposals and the targets of every branch for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mnc.boxes.overlaps import bbox_overlaps
from mnc.boxes.proposals import with_image_index
from mnc.boxes.regression import Normalization, bbox_compute_targets
from mnc.masks.targets import MaskForm, MaskTargets, TruthMasks, mask_targets


@dataclass(frozen=True)
class GroundTruth:
    """The G instances of an image; masks only where there is a mask branch."""
    boxes: np.ndarray                   # (G, 5) x1 y1 x2 y2 label, pixels of the network's input
    masks: np.ndarray | None = None     # (G, h, w) padded, pixels of the original image
    sizes: np.ndarray | None = None     # (G, 2) height and width of each mask
    im_scale: float = 1.0               # input pixels an original pixel


@dataclass(frozen=True)
class OverlapBin:
    """A share of the sample whose best overlap with the ground truth lies in [low, high]."""
    fraction: float
    low: float
    high: float


@dataclass(frozen=True)
class RoiSampling:
    """How many RoIs are taken from where."""
    batch_size: int
    foreground: Sequence[OverlapBin]    # fractions of the batch
    background: Sequence[OverlapBin]    # fractions of what the foreground leaves


@dataclass(frozen=True)
class TargetForm:
    """What the heads predict."""
    num_classes: int                    # K, the background among them
    normalization: Normalization | None
    inside_weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
    mask: MaskForm = field(default_factory=MaskForm)


@dataclass(frozen=True)
class RoiTargets:
    """R training RoIs, the foreground first."""
    rois: np.ndarray                    # (R, 5)
    labels: np.ndarray                  # (R,)
    bbox_targets: np.ndarray            # (R, 4K)
    bbox_inside_weights: np.ndarray     # (R, 4K)
    masks: MaskTargets | None
    keep: np.ndarray                    # (R,) rows of the candidates: proposals, then truths
    num_fg: int

    @property
    def bbox_outside_weights(self) -> np.ndarray:
        """(R, 4K)"""
        return (self.bbox_inside_weights > 0).astype(np.float32)


def proposal_targets(rois: np.ndarray, truth: GroundTruth, sampling: RoiSampling,
                     form: TargetForm) -> RoiTargets:
    """Sample the proposals `rois` (P, 5) and the ground-truth boxes themselves.

    Random draws: foreground bins, then background bins, one for every bin that holds any RoI, even
    if all are taken.
    """
    candidates = with_ground_truth(rois, truth)
    best, _ = best_overlaps(candidates, truth)
    fg = sample_bins(best, sampling.foreground, sampling.batch_size)
    bg = sample_bins(best, sampling.background, sampling.batch_size - len(fg))
    return roi_targets(candidates, fg, bg, truth, form)


def with_ground_truth(rois: np.ndarray, truth: GroundTruth) -> np.ndarray:
    """(P + G, 5): the proposals, then the ground-truth boxes."""
    return np.vstack((rois, with_image_index(truth.boxes[:, :4].astype(rois.dtype))))


def best_overlaps(candidates: np.ndarray, truth: GroundTruth) -> tuple[np.ndarray, np.ndarray]:
    """(highest overlap of each candidate with a truth, that one's row); (0, 0) without truths."""
    overlaps = bbox_overlaps(candidates[:, 1:], truth.boxes)
    if not truth.boxes.size:
        return np.zeros(len(candidates)), np.zeros(len(candidates), int)
    return overlaps.max(axis=1), overlaps.argmax(axis=1)


def roi_targets(candidates: np.ndarray, fg: np.ndarray, bg: np.ndarray, truth: GroundTruth,
                form: TargetForm) -> RoiTargets:
    """Targets of the candidates `fg`, then `bg` (background: label 0, no box or mask target)."""
    keep = np.concatenate((fg, bg)).astype(int)
    rois, num_fg = candidates[keep], len(fg)
    matched = best_overlaps(rois[:num_fg], truth)[1]
    labels = np.zeros(len(keep), np.float32)
    labels[:num_fg] = truth.boxes[matched, 4]
    deltas = np.zeros((len(keep), 4), np.float32)
    deltas[:num_fg] = bbox_compute_targets(rois[:num_fg, 1:], truth.boxes[matched, :4],
                                           form.normalization)
    bbox_targets, inside_weights = spread_over_classes(labels, deltas, form)
    masks = None
    if truth.masks is not None and truth.sizes is not None:
        of_truth = TruthMasks(truth.boxes[:, :4] / truth.im_scale, truth.masks, truth.sizes)
        masks = mask_targets(rois[:, 1:] / truth.im_scale, labels, matched, of_truth, form.mask)
    return RoiTargets(rois, labels, bbox_targets, inside_weights, masks, keep, num_fg)


def spread_over_classes(labels: np.ndarray, deltas: np.ndarray,
                        form: TargetForm) -> tuple[np.ndarray, np.ndarray]:
    """(targets, inside weights), both (R, 4K): a row's class has its deltas, the others 0."""
    targets, weights = (np.zeros((len(labels), form.num_classes, 4), np.float32) for _ in range(2))
    rows = np.where(labels > 0)[0]
    classes = labels[rows].astype(int)
    targets[rows, classes] = deltas[rows]
    weights[rows, classes] = form.inside_weights
    width = 4 * form.num_classes
    return targets.reshape(-1, width), weights.reshape(-1, width)


def sample_bins(overlaps: np.ndarray, bins: Sequence[OverlapBin], total: int) -> np.ndarray:
    """Sorted rows, round(total * fraction) at most from each bin; bins share their ends.

    One draw for every bin that holds any row, even if all are taken.

    overlaps (N,); rows of the shape (sampled,), int.
    """
    taken = np.zeros(0, int)
    for b in bins:
        rows = np.where((overlaps >= b.low) & (overlaps <= b.high))[0]
        if len(rows):
            limit = min(len(rows), int(np.round(total * b.fraction)))
            taken = np.union1d(taken, np.random.choice(rows, size=limit, replace=False))
    return taken
