"""The bridge from stage 3 to stage 4: RoIs moved by their own deltas, and the gradient back.

The arithmetic of one layer, pylayer.stage_bridge_layer, kept here so that it can be
read and tested without a net.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnc.boxes.proposals import with_image_index
from mnc.boxes.regression import (
    Normalization,
    bbox_transform_inv,
    clip_boxes,
    clipping_gradient,
    decoding_gradient,
    growth_of,
)
from mnc.sampling.proposal_targets import (
    GroundTruth,
    RoiTargets,
    TargetForm,
    best_overlaps,
    roi_targets,
    with_ground_truth,
)


@dataclass(frozen=True)
class Bridge:
    """R RoIs, each moved by the deltas of one class."""
    rois: np.ndarray        # (R, 5) moved and clipped
    classes: np.ndarray     # (R,) whose deltas were used
    deltas: np.ndarray      # (R, 4) as applied
    unclipped: np.ndarray   # (R, 4) before clipping


def move_rois(rois: np.ndarray, bbox_pred: np.ndarray, scores: np.ndarray,
              image_size: tuple[int, int], foreground_only: bool,
              denormalization: Normalization | None = None) -> Bridge:
    """Apply to each of `rois` (R, 5) the deltas (R, 4K) of its best class by `scores` (R, K); clip.

    foreground_only: class 0 cannot be chosen. denormalization: of the targets, undone first.
    """
    first = int(foreground_only)
    classes = first + scores[:, first:].argmax(axis=1)
    deltas = bbox_pred.reshape(len(rois), scores.shape[1], 4)[np.arange(len(rois)), classes]
    if denormalization is not None:
        deltas = (deltas * denormalization.stds + denormalization.means).astype(bbox_pred.dtype)
    unclipped = bbox_transform_inv(rois[:, 1:], deltas)
    clipped, _ = clip_boxes(unclipped, image_size)
    return Bridge(with_image_index(clipped), classes, deltas, unclipped)


def bridge_targets(bridge: Bridge, truth: GroundTruth, image_size: tuple[int, int],
                   form: TargetForm, fg_overlap: float = 0.5) -> RoiTargets:
    """Targets of all moved RoIs and the truths: overlaps >= fg_overlap first, then the rest."""
    candidates = with_ground_truth(bridge.rois, truth)
    candidates[:, 1:], _ = clip_boxes(candidates[:, 1:], image_size)
    best, _ = best_overlaps(candidates, truth)
    fg, bg = np.where(best >= fg_overlap)[0], np.where(best < fg_overlap)[0]
    return roi_targets(candidates, fg, bg, truth, form)


def bridge_gradient(bridge: Bridge, rois: np.ndarray, grad: np.ndarray,
                    image_size: tuple[int, int],
                    exact: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Gradients (of the RoIs (R, 5), of the applied deltas (R, 4)), given that of the moved RoIs.

    exact:     the derivative of decoding and clipping.
    otherwise: the public code's, which reads grad as that of (centre x, centre y, width, height)
               and takes for width and height columns (2 - 0) and (3 - 1) of the 5-column RoI, that
               is y1 - image and x2 - x1; the deltas of a box that sticks out of the image get
               nothing.
    """
    if exact:
        inner = clipping_gradient(bridge.unclipped, image_size, grad[:, 1:])
        of_rois, of_deltas = decoding_gradient(rois[:, 1:], bridge.deltas, inner)
        return with_image_index(of_rois), of_deltas
    size = rois[:, 2:4] - rois[:, :2]                                          # (R, 2)
    growth = growth_of(bridge.deltas[:, 2:])
    of_centre, of_size = grad[:, 1:3], grad[:, 3:5]
    of_rois = np.hstack((of_centre, of_size * (bridge.deltas[:, :2] + growth)))
    of_deltas = np.hstack((of_centre * size, of_size * growth * size))
    inside = np.isin(np.arange(len(rois)), clip_boxes(bridge.unclipped, image_size)[1])
    return with_image_index(of_rois), np.where(inside[:, None], of_deltas, 0)
