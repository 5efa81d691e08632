"""Testing the images of a data set, and what is left of their results when all are known."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from caffe.extend import workers
from mnc.data.dataset import DataError, Dataset
from mnc.inference.networks import Nets
from mnc.inference.selection import ScoreFloor, above, suppress, unnested, update
from mnc.inference.settings import TestSettings
from mnc.instances import ImageDetections, Regions, SetDetections, by_class, nothing_found
from mnc.tasks import Task, task_named

log = logging.getLogger("mnc")


@dataclass(frozen=True)
class Finder:
    """Nets with a task: what they find in the images of a set."""

    net: Nets
    settings: TestSettings
    task: Task
    regions: Callable[[int], Regions] | None = None     # of image i, for tasks that need them
    shown: bool = True                                  # by a bar, on a terminal

    def images(self, dataset: Dataset,
               indices: Iterable[int]) -> Iterator[tuple[int, ImageDetections]]:
        """(i, what is found in image i), one by one; `of_the_set` makes the result of all of it.

        An image that cannot be read costs only itself.
        """
        classes = len(dataset.classes)
        nothing = nothing_found(classes, self.settings.mask.size if self.task.masks else 0)
        limits = self.task.limits_classes(self.settings.voting is not None)
        floors = _floors(self.settings, classes, len(dataset))
        hidden = workers.rank() > 0 or not self.shown or not sys.stderr.isatty()
        for i in tqdm(indices, desc=f"testing on {dataset.name}", unit="image", disable=hidden):
            try:
                found = self.image(i, dataset.image(i))
            except DataError as error:
                log.warning("%s; counted as an image in which nothing was found", error)
                found = nothing
            if limits:
                found = above(found, floors)            # no need to hold what cannot stay
                update(floors, found)
            yield i, found

    def image(self, i: int, image: np.ndarray) -> ImageDetections:
        """What is found in image i (H, W, 3) of the set."""
        given = (self.regions(i),) if self.task.regions and self.regions else ()
        return self.task.detect(self.net, image, self.settings, *given)


def test_dataset(net: Nets, dataset: Dataset, cfg: Mapping[str, Any] | TestSettings,
                 task: str | Task = "seg",
                 proposals: Callable[[int], Regions] | None = None) -> SetDetections:
    """`detections[c][i]` = (boxes (n, 5), masks (n, S, S)); with task 'det' S is 0.

    cfg: mnc.config.cfg, a copy of it, or TestSettings. Task 'cfm' needs proposals(i), the given
    mnc.instances.Regions of image i. Raises ValueError for an unknown task, InferenceError for a
    net that is not one for it.
    """
    finder = Finder(net, TestSettings.of(cfg), task_named(task), proposals)
    found = [detections for _, detections in finder.images(dataset, range(len(dataset)))]
    return of_the_set(found, finder.settings, finder.task)


def of_the_set(found: Sequence[ImageDetections], settings: TestSettings,
               task: Task) -> SetDetections:
    """detections[c][i] of what was found in each image, whatever their order of testing was.

    Without voting these are the best most_of_class x images detections of each class, less what
    NMS takes in each image, and less those inside better ones (TEST.NMS_NESTED).
    """
    if task.limits_classes(settings.voting is not None):
        floors = _floors(settings, len(found[0]), len(found))
        for detections in found:
            update(floors, detections)
        found = [unnested(suppress(above(detections, floors), settings.nms, settings.inclusive),
                          settings) for detections in found]
    return by_class(found)


def _floors(settings: TestSettings, classes: int, images: int) -> list[ScoreFloor]:
    return [ScoreFloor(settings.most_of_class * images) for _ in range(classes)]
