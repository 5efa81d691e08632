"""Which results stay where no voting thins them: the best of an image, of a class over a set."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np

from mnc.boxes.nms import nms
from mnc.instances import Detections, ImageDetections, Raw


def best_of(raw: Raw, most: int) -> ImageDetections:
    """Per class the `most` results of the highest scores; none of the background."""
    found = []
    for label, scores in enumerate(raw.scores.T):
        order = np.argsort(-scores, kind="stable")[:most if label else 0]
        first = 0 if raw.boxes.shape[1] == 4 else 4 * label
        boxes = raw.boxes[order, first:first + 4]
        found.append(Detections(np.hstack((boxes, scores[order, None])), raw.masks[order]))
    return found


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
