"""Which boxes are trained on which ground truth, and which of the others as background."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from caffe.layer_types.ssd.boxes import LEAST_OVERLAP, area, overlaps, suppress

UNMATCHED, IGNORED = -1, -2
SMALLEST_AREA = 1e-5        # boxes below take no part in suppression of hard examples


@dataclass(frozen=True)
class GroundTruth:
    """The objects of an image: boxes (G, 4), labels (G,) whole numbers, difficult (G,) bool"""

    boxes: Tensor
    labels: np.ndarray
    difficult: np.ndarray


def ground_truth(rows: Tensor, images: int) -> list[GroundTruth]:
    """The objects of each image, of rows (.., 8): image, label, instance, box, difficult

    Rows of image -1 say nothing.
    """
    rows = rows.detach().reshape(-1, 8).cpu()
    image, label = (rows[:, i].long() for i in (0, 1))
    of_image = [(image == i).nonzero().flatten() for i in range(images)]
    return [GroundTruth(rows[own, 3:7], label[own].numpy(), rows[own, 7].numpy() != 0)
            for own in of_image]


@dataclass(frozen=True)
class Match:
    """For each of P boxes its ground truth, or UNMATCHED or IGNORED; and its largest overlap"""

    index: np.ndarray
    overlap: np.ndarray


def match(boxes: Tensor, truth: Tensor, threshold: float | None, inside_only: bool) -> Match:
    """Boxes (P, 4) to truth (G, 4)

    First every truth takes the box it overlaps most, the largest overlap of all first (ties: the
    lower box, then the lower truth); whatever is left takes, if there is a threshold, the truth it
    overlaps most, by so much at least. inside_only: boxes beyond the image are IGNORED.
    """
    index = np.full(len(boxes), UNMATCHED)
    best = np.zeros(len(boxes), np.float32)
    if not len(truth):
        return Match(index, best)
    shares = overlaps(boxes, truth).numpy()
    shares[shares <= LEAST_OVERLAP] = 0
    if inside_only:
        beyond = ((boxes < 0) | (boxes > 1)).any(1).numpy()
        index[beyond], shares[beyond] = IGNORED, 0
    best = shares.max(1)
    _each_truth_its_box(shares, index, best)
    if threshold is not None:
        free = (index == UNMATCHED) & (best >= max(threshold, LEAST_OVERLAP))
        index[free] = shares[free].argmax(1)
    return Match(index, best)


def _each_truth_its_box(shares: np.ndarray, index: np.ndarray, best: np.ndarray) -> None:
    left = shares.copy()
    for _ in range(shares.shape[1]):
        box, truth = np.unravel_index(left.argmax(), left.shape)
        if left[box, truth] <= 0:
            return
        index[box], best[box] = truth, left[box, truth]
        left[box], left[:, truth] = 0, 0


def negatives_possible(found: Match, below: float) -> np.ndarray:
    """The boxes that match nothing and overlap less than `below` with everything"""
    return np.flatnonzero((found.index == UNMATCHED) & (found.overlap < below))


def hardest(loss: np.ndarray, boxes: Tensor | None, threshold: float, top_k: int) -> np.ndarray:
    """All, the largest loss first; with boxes (R, 4): what survives suppression of the top_k first

    A top_k below 0 means all.
    """
    order = _falling(loss)
    if boxes is None:
        return order
    first = torch.from_numpy(order[:top_k] if top_k >= 0 else order)
    first = first[area(boxes[first]) >= SMALLEST_AREA]
    return first[suppress(boxes[first], torch.from_numpy(loss)[first], threshold)].numpy()


def keep(found: Match, chosen: np.ndarray, *, unmatch: bool) -> tuple[Match, np.ndarray]:
    """The match, and which of the chosen boxes are background (ascending)

    unmatch: matched boxes that were not chosen are so no more, nor are they background.
    """
    is_chosen = np.zeros(len(found.index), bool)
    is_chosen[chosen] = True
    background = np.flatnonzero(is_chosen & (found.index == UNMATCHED))
    if unmatch:
        lost = ~is_chosen & (found.index > UNMATCHED)
        found = Match(np.where(lost, UNMATCHED, found.index), found.overlap)
    return found, background


def _falling(loss: np.ndarray) -> np.ndarray:
    """Places of the losses, the largest first; ties: the lower place"""
    return np.argsort(-loss, kind="stable")
