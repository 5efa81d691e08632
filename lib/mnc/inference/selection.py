"""Which results stay where no voting thins them: the best of an image, of a class over a set."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np

from mnc.boxes.nms import nms
from mnc.inference.settings import TestSettings
from mnc.instances import Detections, ImageDetections, Raw
from mnc.masks.overlaps import shared_pixels
from mnc.masks.rendering import render, solid


def best_of(raw: Raw, most: int) -> ImageDetections:
    """Per class the `most` results of the highest scores; none of the background."""
    found = []
    for label, scores in enumerate(raw.scores.T):
        order = np.argsort(-scores, kind="stable")[:most if label else 0]
        first = 0 if raw.boxes.shape[1] == 4 else 4 * label
        boxes = raw.boxes[order, first:first + 4]
        found.append(Detections(np.hstack((boxes, scores[order, None])), raw.masks[order]))
    return found


def unnested(found: ImageDetections, settings: TestSettings) -> ImageDetections:
    """Class by class, less the results that lie in a better one by settings.nested of their mask.

    That is a share of its pixels, or of the box's where results have no masks; from 1 on nothing
    is dropped.
    """
    if settings.nested >= 1:
        return found
    return [each.rows(_not_nested(each, settings.nested, settings.mask.threshold))
            for each in found]


def _not_nested(found: Detections, share: float, binarize: float) -> np.ndarray:
    """Rows in the order they had."""
    if np.size(found.masks):
        boxes, masks = render(found.boxes, found.masks, binarize)
    else:
        boxes = np.round(found.boxes[:, :4]).astype(int)
        masks = [solid(box) for box in boxes]
    kept: list[int] = []
    for row in np.argsort(-found.boxes[:, 4], kind="stable").tolist():
        least = share * masks[row].sum()
        if not any(0 < least <= shared_pixels(boxes[row], masks[row], boxes[k], masks[k])
                   for k in kept):
            kept.append(row)
    return np.sort(np.array(kept, int))


def suppress(found: ImageDetections, thresh: float, inclusive: bool) -> ImageDetections:
    """NMS class by class."""
    return [each.rows(nms(each.boxes, thresh, inclusive)) for each in found]


class ScoreFloor:
    """The score to exceed for a place among the best `limit` of a class, over all images so far."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.value = -np.inf
        self._best: list[float] = []

    def update(self, scores: np.ndarray) -> None:
        """Count these scores (n,) in."""
        for score in scores:
            heapq.heappush(self._best, float(score))
        while len(self._best) > self.limit:
            self.value = max(self.value, heapq.heappop(self._best))


def update(floors: Sequence[ScoreFloor], found: ImageDetections) -> None:
    """Count the detections of an image in, each at the floor of its class."""
    for floor, each in zip(floors, found):
        floor.update(each.boxes[:, 4])


def above(found: ImageDetections, floors: Sequence[ScoreFloor]) -> ImageDetections:
    """The detections of an image that exceed the floor of their class."""
    return [each.rows(each.boxes[:, 4] > floor.value) for each, floor in zip(found, floors)]
