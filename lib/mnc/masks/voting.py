"""Mask voting: each kept box takes the score-weighted mean of the masks whose boxes overlap it.

The two forms of the public code are kept. `vote_masks` sums continuous masks on the unrounded boxes (the published
results); `vote_masks_cpu` sums binary masks on rounded boxes. For both:

boxes (N, 4), masks (N, 1, S, S) or (N, S, S), scores (N, K); the result is a list over the K classes, first the
background's, which is empty, of (masks (n, 1, S, S), boxes (n, 5) = x1 y1 x2 y2 score).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from caffe import ops
from mnc.boxes.nms import nms
from mnc.boxes.overlaps import bbox_overlaps
from mnc.masks.targets import resize

Vote = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Candidates:
    """What each of M results is voted from; the members of result i end at ends[i]."""
    classes: np.ndarray         # (M,)
    scores: np.ndarray          # (M,)
    members: np.ndarray         # (sum of members,) rows of the boxes
    ends: np.ndarray            # (M,)
    weights: np.ndarray         # (sum of members,) sum to 1 in each result


def vote_masks(boxes: np.ndarray, masks: np.ndarray, scores: np.ndarray, num_classes: int, max_per_image: int,
               width: int, height: int, nms_thresh: float = 0.3, merge_thresh: float = 0.5,
               binarize_thresh: float = 0.4, inclusive_nms: bool = False) -> list[Vote]:
    """Voting over continuous masks; a result's box is where the mean exceeds `binarize_thresh`."""
    candidates = find_candidates(boxes, scores, num_classes, max_per_image, nms_thresh, merge_thresh, inclusive_nms)

    def aggregate(masks: np.ndarray) -> Vote:
        voted, where = ops.mask_voting(_tensor(boxes), _tensor(masks), _tensor(candidates.members, np.int32),
                                       _tensor(candidates.ends, np.int32), _tensor(candidates.weights),
                                       int(height), int(width), float(binarize_thresh))
        return voted.numpy(), where.numpy()

    return _vote(candidates, masks, num_classes, aggregate)


def vote_masks_cpu(boxes: np.ndarray, masks: np.ndarray, scores: np.ndarray, num_classes: int, max_per_image: int,
                   width: int, height: int, nms_thresh: float = 0.3, merge_thresh: float = 0.5,
                   binarize_thresh: float = 0.4, inclusive_nms: bool = False) -> list[Vote]:
    """Voting over masks binarised on their rounded boxes; a result's box is where the mean reaches the threshold."""
    candidates = find_candidates(boxes, scores, num_classes, max_per_image, nms_thresh, merge_thresh, inclusive_nms)

    def aggregate(masks: np.ndarray) -> Vote:
        used = np.unique(candidates.members)
        drawn = {row: _draw(boxes[row], masks[row], binarize_thresh, (height, width)) for row in used}
        starts = np.concatenate(([0], candidates.ends[:-1])).astype(int)
        results = [_mean_mask([drawn[row] for row in candidates.members[a:b]], candidates.weights[a:b],
                              (height, width), binarize_thresh, masks.shape[-1])
                   for a, b in zip(starts, candidates.ends)]
        return np.stack([mask for mask, _ in results]), np.stack([box for _, box in results])

    return _vote(candidates, masks, num_classes, aggregate)


def find_candidates(boxes: np.ndarray, scores: np.ndarray, num_classes: int, max_per_image: int,
                    nms_thresh: float, merge_thresh: float, inclusive_nms: bool = False) -> Candidates:
    """NMS a class, the best `max_per_image` results over all classes, and who votes for each."""
    kept = [np.zeros(0, int)] + [_class_winners(boxes, scores[:, c], nms_thresh, max_per_image, inclusive_nms)
                                 for c in range(1, num_classes)]
    classes = np.repeat(np.arange(num_classes), [len(rows) for rows in kept])
    rows = np.concatenate(kept)
    best = np.sort(scores[rows, classes])[::-1][:max_per_image]
    chosen = scores[rows, classes] >= (best[-1] if len(best) else 0)
    rows, classes = rows[chosen], classes[chosen]
    votes = bbox_overlaps(boxes[rows], boxes) >= merge_thresh                  # (M, N)
    result, members = np.where(votes)
    weights = scores[members, classes[result]]
    totals = np.bincount(result, weights, minlength=len(rows)).astype(scores.dtype)[result]
    weights = np.divide(weights, totals, out=np.zeros_like(weights), where=totals > 0)
    return Candidates(classes, scores[rows, classes], members, votes.sum(1).cumsum(), weights)


def _class_winners(boxes: np.ndarray, scores: np.ndarray, nms_thresh: float, limit: int, inclusive: bool) -> np.ndarray:
    return nms(np.hstack((boxes, scores[:, None])), nms_thresh, inclusive, limit)


def _vote(candidates: Candidates, masks: np.ndarray, num_classes: int, aggregate: Callable) -> list[Vote]:
    masks = masks.reshape(len(masks), *masks.shape[-2:])                       # (N, S, S)
    none = np.zeros((0, 1, *masks.shape[-2:]), np.float32), np.zeros((0, 5))
    if not len(candidates.classes):
        return [none] * num_classes
    voted, where = aggregate(masks)                                            # (M, S, S), (M, 4)
    found = np.hstack((where, candidates.scores[:, None]))
    rows = [candidates.classes == c for c in range(num_classes)]
    return [(voted[r][:, None], found[r]) if r.any() else none for r in rows]


def _tensor(array: np.ndarray, dtype: type = np.float32) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=dtype))


def _draw(box: np.ndarray, mask: np.ndarray, threshold: float, image_size: tuple[int, int]) -> tuple[np.ndarray, tuple]:
    """(binary mask on the rounded box, its slices of the image); what lies outside the image is cut off."""
    x1, y1, x2, y2 = np.round(box).astype(int)
    drawn = resize(mask, max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1)) >= threshold
    top, left = max(-y1, 0), max(-x1, 0)
    place = np.s_[max(y1, 0):max(y2 + 1, 0), max(x1, 0):max(x2 + 1, 0)]
    height, width = np.broadcast_to(False, image_size)[place].shape
    return drawn[top:top + height, left:left + width], place


def _mean_mask(drawn: list, weights: np.ndarray, image_size: tuple[int, int], threshold: float, size: int) -> Vote:
    canvas = np.zeros(image_size)
    for (mask, place), weight in zip(drawn, weights):
        canvas[place] += mask * weight
    covered = canvas >= threshold
    ys, xs = np.where(covered.any(1))[0], np.where(covered.any(0))[0]
    if len(ys):
        x1, y1, x2, y2 = xs[0], ys[0], xs[-1], ys[-1]
    else:
        x1, y1 = x2, y2 = image_size[1] // 2, image_size[0] // 2
    return resize(canvas[y1:y2 + 1, x1:x2 + 1], size, size), np.array([x1, y1, x2, y2])
