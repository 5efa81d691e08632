"""What is found in images: the nouns that nets, voting, results, evaluation and pictures share.

    Raw             of a net, before voting or suppression
    Regions         of an image, given: what CFM classifies; TrainingRegions: with their targets
    Detections      of a class in an image
    Instances       of an image: all classes together, best score first
    SetDetections   of a whole set: detections[class][image]

Alphabet: N or n results, K classes (0 = background), S mask side. Boxes always come before masks. A
mask is a map over its box, stretched over it, with values 0 .. 1 (or bool): (n, S, S) for all, or a
sequence of n maps (h, w) where their sizes differ. Sizes of images are (height, width).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple, TypeVar

import numpy as np

AnyRegions = TypeVar("AnyRegions", bound="Regions")
Masks = np.ndarray | Sequence[np.ndarray]


class InferenceError(ValueError):
    """A net or its outputs that cannot be used for the task; the message says what to do."""


@dataclass(frozen=True)
class Raw:
    """N results of K classes (0 = background); of a five-stage net pass one before pass two.

    boxes (N, 4), the same for every class, or (N, 4K), one for each; inside the image.
    """

    boxes: np.ndarray
    masks: np.ndarray        # (N, S, S); S = 0 where there are none
    scores: np.ndarray       # (N, K)

    def mirrored(self, width: int) -> Raw:
        """The same of the image mirrored left to right."""
        return Raw(mirrored_boxes(self.boxes, width), self.masks[..., ::-1], self.scores)


@dataclass(frozen=True)
class Regions:
    """R given regions of one image, best first."""

    boxes: np.ndarray        # (R, 4)
    masks: np.ndarray        # (R, S, S)

    def __len__(self) -> int:
        return len(self.boxes)

    def rows(self: AnyRegions, index: np.ndarray | slice) -> AnyRegions:
        """Some of them. By numbers, or a mask (N, ) bool."""
        return replace(self, **{each.name: getattr(self, each.name)[index]
                                for each in fields(self)})

    def mirrored(self: AnyRegions, width: int) -> AnyRegions:
        """The same of the image mirrored left to right."""
        return replace(self, boxes=mirrored_boxes(self.boxes, width), masks=self.masks[..., ::-1])


@dataclass(frozen=True)
class TrainingRegions(Regions):
    """The R regions of one image, the G instances themselves first; pixels of the original."""

    mask_targets: np.ndarray    # (R, S, S) bool: the part of the assigned instance in the box
    det_overlap: np.ndarray     # (R,) of the box with that of the assigned instance
    seg_overlap: np.ndarray     # (R,) of the mask with the instance it covers best
    labels: np.ndarray          # (R,) class of the assigned instance, 0 if there is none
    assignment: np.ndarray      # (R,) its row; -1: the box meets none

    def mirrored(self, width: int) -> TrainingRegions:
        """The same of the mirrored image."""
        return replace(super().mirrored(width), mask_targets=self.mask_targets[..., ::-1])


class Detections(NamedTuple):
    """n results of one class in one image: the pair (boxes, masks)."""

    boxes: np.ndarray        # (n, 5) x1 y1 x2 y2 score, pixels of the original image
    masks: Masks             # (n, S, S), S = 0 where there are none; or n maps (h, w)

    def rows(self, index: np.ndarray) -> Detections:
        """Some of them, by numbers or a mask (n,) bool."""
        return Detections(self.boxes[index], np.asarray(self.masks)[index])


ImageDetections = Sequence[Detections]                  # of one image, by class: K of them
SetDetections = Sequence[Sequence[Detections]]          # of a whole set: [class][image]


def nothing_found(classes: int, side: int) -> ImageDetections:
    """The detections of an image without any, masks (0, side, side)."""
    return [Detections(np.zeros((0, 5)), np.zeros((0, side, side), np.float32))] * classes


def by_class(images: Sequence[ImageDetections]) -> SetDetections:
    """`detections[image][class]` as `detections[class][image]`; the reverse as well."""
    return [list(row) for row in zip(*images)]


@dataclass(frozen=True)
class Instances:
    """What is seen in one image, best score first."""

    boxes: np.ndarray        # (N, 5) x1 y1 x2 y2 score
    masks: np.ndarray        # (N, S, S)
    labels: np.ndarray       # (N,) in 1..K-1

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def from_detections(cls, detections: ImageDetections, score: float = 0.0) -> Instances:
        """All detections with at least `score`; masks (n, S, S) of one size."""
        boxes = np.concatenate([boxes for boxes, _ in detections])
        masks = np.concatenate([masks for _, masks in detections])
        labels = np.repeat(np.arange(len(detections)), [len(boxes) for boxes, _ in detections])
        order = np.argsort(-boxes[:, 4], kind="stable")
        order = order[boxes[order, 4] >= score]
        return cls(boxes[order], masks[order], labels[order])


def mirrored_boxes(boxes: np.ndarray, width: int) -> np.ndarray:
    """Boxes (N, 4K) in the image of this width mirrored left to right: x -> width - 1 - x."""
    x1, y1, x2, y2 = np.moveaxis(boxes.reshape(len(boxes), boxes.shape[1] // 4, 4), 2, 0)
    return np.stack((width - 1 - x2, y1, width - 1 - x1, y2), axis=2).reshape(boxes.shape)
