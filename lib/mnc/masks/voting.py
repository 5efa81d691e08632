"""Mask voting: each kept box takes the score-weighted mean of the masks whose boxes overlap it.

The two forms of the public code are kept: `vote_masks` sums continuous masks on the unrounded boxes
(the published results), `vote_masks_cpu` sums binary masks on rounded boxes. The first puts corners
of a mask's cells on centres of pixels, which moves masks by up to half a cell; Voting.exact has
centres on centres. All take what a net says of an image, with boxes (N, 4), and give the detections
of each class, the background's (none) first. image_size is (height, width).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from caffe import ops
from mnc.boxes.nms import nms
from mnc.boxes.overlaps import bbox_overlaps
from mnc.instances import Detections, ImageDetections, Raw
from mnc.masks.rendering import resize, spread


@dataclass(frozen=True)
class Voting:
    """How results are thinned out and voted."""

    nms: float = 0.3            # IoU of boxes above which NMS drops one
    merge: float = 0.5          # IoU from which a box votes
    binarize: float = 0.4       # a mask covers the pixels where it reaches this
    inclusive: bool = False     # NMS drops at `nms` itself, too
    most: int = 100             # results of an image, over all classes
    exact: bool = False         # continuous masks lie in their boxes as training has them


@dataclass(frozen=True)
class Candidates:
    """What each of M results is voted from; the members of result i end at ends[i]."""

    classes: np.ndarray         # (M,)
    scores: np.ndarray          # (M,)
    members: np.ndarray         # (sum of members,) rows of the boxes
    ends: np.ndarray            # (M,)
    weights: np.ndarray         # (sum of members,) sum to 1 in each result


def vote_masks(raw: Raw, image_size: tuple[int, int], voting: Voting = Voting(), *,
               device: torch.device | str = "cpu") -> ImageDetections:
    """Voting over continuous masks; a result's box is where the mean exceeds voting.binarize.

    device: where the masks are drawn, summed and resampled; exact ones are on the CPU.
    """
    found = find_candidates(raw.boxes, raw.scores, voting)
    if voting.exact:
        return _vote_exact(raw, found, image_size, voting.binarize)
    masks = raw.masks.reshape(len(raw.masks), *raw.masks.shape[-2:])           # (N, S, S)
    arrays: Any = (_tensor(raw.boxes), _tensor(masks), _tensor(found.members, np.int64),
                   _tensor(found.ends, np.int64), _tensor(found.weights))
    sizes = (*map(int, image_size), float(voting.binarize))
    voted, where = ops.mask_voting(*[*(x.to(device) for x in arrays), *sizes])
    return _by_class(found, where.cpu().numpy(), voted.cpu().numpy(), raw.scores.shape[1])


def _vote_exact(raw: Raw, found: Candidates, image_size: tuple[int, int],
                binarize: float) -> ImageDetections:
    """A box is where the mean exceeds the limit; the middle of the image if it does nowhere."""
    masks = raw.masks.reshape(len(raw.masks), *raw.masks.shape[-2:])
    side = masks.shape[-1]
    drawn = {row: spread(raw.boxes[row], masks[row], image_size)
             for row in np.unique(found.members)}
    voted = np.zeros((len(found.ends), side, side), np.float32)
    where = np.zeros((len(found.ends), 4), int)
    for i, (start, end) in enumerate(zip([0, *found.ends], found.ends)):
        members = found.members[start:end]
        corners = np.array([drawn[row][1] for row in members])
        (x1, y1), (x2, y2) = corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)
        mean = np.zeros((y2 - y1, x2 - x1), np.float32)
        for row, weight in zip(members, found.weights[start:end]):
            mask, (left, top, right, bottom) = drawn[row]
            mean[top - y1:bottom - y1, left - x1:right - x1] += mask * weight
        covered = mean > binarize
        left, top, right, bottom = _tight_box(covered)
        voted[i] = resize(mean[top:bottom + 1, left:right + 1], side, side)
        where[i] = x1 + left, y1 + top, x1 + right, y1 + bottom
        if not covered.any():
            where[i] = np.tile([image_size[1] // 2, image_size[0] // 2], 2)
    return _by_class(found, where, voted, raw.scores.shape[1])


def vote_masks_cpu(raw: Raw, image_size: tuple[int, int],
                   voting: Voting = Voting()) -> ImageDetections:
    """Voting over masks binarised on rounded boxes; a box is where the mean reaches the limit."""
    found = find_candidates(raw.boxes, raw.scores, voting)
    masks = raw.masks.reshape(len(raw.masks), *raw.masks.shape[-2:])
    height, width = (int(side) for side in image_size)
    side = masks.shape[-1]
    drawn = {row: _draw(raw.boxes[row], masks[row], voting.binarize, (height, width))
             for row in np.unique(found.members)}
    voted = np.zeros((len(found.ends), side, side), np.float32)
    where = np.zeros((len(found.ends), 4), int)
    for i, (start, end) in enumerate(zip([0, *found.ends], found.ends)):
        mean = np.zeros((height, width))
        for row, weight in zip(found.members[start:end], found.weights[start:end]):
            mask, place = drawn[row]
            mean[place] += mask * weight
        where[i] = x1, y1, x2, y2 = _tight_box(mean >= voting.binarize)
        voted[i] = resize(mean[y1:y2 + 1, x1:x2 + 1], side, side)
    return _by_class(found, where, voted, raw.scores.shape[1])


def find_candidates(boxes: np.ndarray, scores: np.ndarray, voting: Voting) -> Candidates:
    """NMS class by class, then the best voting.most results of all; all boxes near one vote.

    boxes (N, 4), scores (N, K).
    """
    num_classes = scores.shape[1]
    kept = [np.zeros(0, int)]
    for c in range(1, num_classes):
        dets = np.hstack((boxes, scores[:, c, None]))
        kept.append(nms(dets, voting.nms, voting.inclusive, voting.most))
    rows, classes = np.concatenate(kept), np.repeat(np.arange(num_classes), [len(k) for k in kept])
    best = np.sort(scores[rows, classes])[::-1][:voting.most]
    chosen = scores[rows, classes] >= (best[-1] if len(best) else 0)
    rows, classes = rows[chosen], classes[chosen]
    votes = bbox_overlaps(boxes[rows], boxes) >= voting.merge                  # (M, N)
    result, members = np.where(votes)
    weights = scores[members, classes[result]]
    totals = np.bincount(result, weights, minlength=len(rows)).astype(scores.dtype)[result]
    weights = np.divide(weights, totals, out=np.zeros_like(weights), where=totals > 0)
    return Candidates(classes, scores[rows, classes], members, votes.sum(1).cumsum(), weights)


def _by_class(found: Candidates, boxes: np.ndarray, masks: np.ndarray,
              num_classes: int) -> ImageDetections:
    boxes = np.hstack((boxes, found.scores[:, None].astype(np.float64)))
    rows = [found.classes == c for c in range(num_classes)]
    return [Detections(boxes[r], masks[r]) for r in rows]


def _tensor(array: np.ndarray, dtype: type = np.float32) -> torch.Tensor:
    return torch.from_numpy(np.require(array, dtype, ("C", "W")))


def _draw(box: np.ndarray, mask: np.ndarray, threshold: float,
          image_size: tuple[int, int]) -> tuple[np.ndarray, tuple[slice, slice]]:
    """(binary mask on the rounded box, cut at the image's border; its place in the image)."""
    x1, y1, x2, y2 = np.round(box).astype(int)
    drawn = resize(mask, max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1)) >= threshold
    place = np.s_[max(y1, 0):max(y2 + 1, 0), max(x1, 0):max(x2 + 1, 0)]
    height, width = np.broadcast_to(False, image_size)[place].shape
    top, left = max(-y1, 0), max(-x1, 0)
    return drawn[top:top + height, left:left + width], place


def _tight_box(covered: np.ndarray) -> tuple[int, int, int, int]:
    """(x1, y1, x2, y2) around what is True; the middle if nothing is."""
    ys, xs = np.where(covered.any(1))[0], np.where(covered.any(0))[0]
    if not len(ys):
        y, x = (side // 2 for side in covered.shape)
        return x, y, x, y
    return xs[0], ys[0], xs[-1], ys[-1]
