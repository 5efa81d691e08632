"""What test nets say of an image before voting or suppression, and how several say it together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mnc.masks.targets import resize


class InferenceError(ValueError):
    """A net or its outputs that cannot be used for the task; the message says what to do."""


@dataclass(frozen=True)
class Raw:
    """N results of K classes (0 = background); of a five-stage net pass one before pass two.

    boxes (N, 4), the same for every class, or (N, 4K), one for each; inside the image.
    """

    boxes: np.ndarray
    masks: np.ndarray        # (N, 1, S, S); S = 0 where there are none
    scores: np.ndarray       # (N, K)

    def mirrored(self, width: int) -> Raw:
        """The same of the image mirrored left to right."""
        return Raw(mirrored_boxes(self.boxes, width), self.masks[..., ::-1], self.scores)


def mirrored_boxes(boxes: np.ndarray, width: int) -> np.ndarray:
    """Boxes (N, 4K) in the image of this width mirrored left to right: x -> width - 1 - x."""
    x1, y1, x2, y2 = np.moveaxis(boxes.reshape(len(boxes), boxes.shape[1] // 4, 4), 2, 0)
    return np.stack((width - 1 - x2, y1, width - 1 - x1, y2), axis=2).reshape(boxes.shape)


def joined(parts: Sequence[Raw]) -> Raw:
    """One after the other; masks of another side than the first's are resized to it."""
    classes = sorted({part.scores.shape[1] for part in parts})
    if len(classes) > 1:
        raise InferenceError(f"nets for {' and '.join(map(str, classes))} classes (background "
                             "included) cannot be used together")
    masks = [_of_side(part.masks, parts[0].masks.shape[-1]) for part in parts]
    return Raw(np.concatenate([part.boxes for part in parts]), np.concatenate(masks),
               np.concatenate([part.scores for part in parts]))


def blob_of(net, name: str):
    """The blob; InferenceError where this net has none of that name."""
    if name not in net.blobs:
        raise InferenceError(f'net "{net.name}" has no blob "{name}", so it is not one for this '
                             "task: cascades do seg and det, Faster R-CNN det, CFM nets cfm")
    return net.blobs[name]


def as_list(net) -> list:
    """One net or several as a list."""
    return list(net) if isinstance(net, (list, tuple)) else [net]


def _of_side(masks: np.ndarray, side: int) -> np.ndarray:
    if masks.shape[-1] == side:
        return masks
    resized = [resize(mask, side, side) for mask in masks[:, 0]]
    return np.array(resized, np.float32).reshape(-1, 1, side, side)
