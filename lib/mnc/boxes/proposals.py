"""Proposals: the RoIs that scores and deltas of the anchors give, and their gradient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnc.boxes.nms import nms
from mnc.boxes.regression import (
    bbox_transform_inv,
    clip_boxes,
    clipping_gradient,
    decoding_gradient,
    filter_small_boxes,
    growth_of,
)


@dataclass(frozen=True)
class ProposalLimits:
    """What thins the proposals out."""
    pre_nms: int                # best scores that reach NMS; 0: all
    post_nms: int               # best ones kept after it; 0: all
    nms_thresh: float
    min_size: float             # pixels of the network's input image
    inclusive_nms: bool = False


@dataclass(frozen=True)
class Proposals:
    """R regions of one image, best score first."""
    rois: np.ndarray            # (R, 5), image index 0
    scores: np.ndarray          # (R, 1)
    anchor_index: np.ndarray    # (R,) row of the anchor each came from


def propose(scores: np.ndarray, deltas: np.ndarray, anchors: np.ndarray,
            image_size: tuple[int, int], limits: ProposalLimits) -> Proposals:
    """Decode, clip, drop the small, take the best by score, suppress, take the best again.

    scores (T,), deltas (T, 4), anchors (T, 4): one row an anchor; image_size (height, width).
    """
    boxes, _ = clip_boxes(bbox_transform_inv(anchors, deltas), image_size)
    keep = filter_small_boxes(boxes, limits.min_size)
    keep = keep[~np.isnan(scores[keep])]
    keep = keep[by_score(scores[keep], limits.pre_nms)]
    dets = np.hstack((boxes[keep], scores[keep, None]))
    keep = keep[nms(dets, limits.nms_thresh, limits.inclusive_nms, limits.post_nms)]
    return Proposals(with_image_index(boxes[keep]), scores[keep, None], keep)


def by_score(scores: np.ndarray, most: int = 0) -> np.ndarray:
    """Rows in the order of their scores, best first, equal ones in row order; the first `most` of
    them (0: all).

    scores (N,), none of them NaN; rows (N,) or fewer, int.
    """
    if not 0 < most < len(scores):
        return np.argsort(-scores, kind="stable")
    last = -np.partition(-scores, most - 1)[most - 1]       # sorting all takes five times as long
    rows = np.flatnonzero(scores >= last)
    return rows[np.argsort(-scores[rows], kind="stable")][:most]


def with_image_index(boxes: np.ndarray) -> np.ndarray:
    """(R, 4) -> (R, 5): RoIs of image 0."""
    return np.hstack((np.zeros((len(boxes), 1), boxes.dtype), boxes))


def proposal_gradient(roi_diff: np.ndarray, anchor_index: np.ndarray, deltas: np.ndarray,
                      anchors: np.ndarray, image_size: tuple[int, int],
                      exact: bool = False) -> np.ndarray:
    """(T, 4) gradient of the deltas, given `roi_diff` (R, 5) of the RoIs of rows `anchor_index`.

    exact:     the derivative of decoding and clipping.
    otherwise: the public code's: anchor sizes without the + 1, and nothing at all where the anchor
               or its decoded box sticks out of the image.
    """
    anchors, of_rows = anchors[anchor_index].astype(deltas.dtype), deltas[anchor_index]
    boxes, grad = bbox_transform_inv(anchors, of_rows), roi_diff[:, 1:]
    if exact:
        _, rows = decoding_gradient(anchors, of_rows, clipping_gradient(boxes, image_size, grad))
    else:
        rows = _reference_rows(anchors, of_rows, grad)
        rows[~(_inside(boxes, image_size) & _inside(anchors, image_size))] = 0
    result = np.zeros_like(deltas)
    result[anchor_index] = rows
    return result


def _reference_rows(anchors: np.ndarray, deltas: np.ndarray, grad: np.ndarray) -> np.ndarray:
    size = anchors[:, 2:] - anchors[:, :2]                    # (R, 2): x and y alike
    of_centre = (grad[:, :2] + grad[:, 2:]) * size
    of_size = (grad[:, 2:] - grad[:, :2]) / 2 * growth_of(deltas[:, 2:]) * size
    return np.hstack((of_centre, of_size))


def _inside(boxes: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    inside = np.zeros(len(boxes), bool)
    inside[clip_boxes(boxes, image_size)[1]] = True
    return inside
