"""The tasks of a test, in one table: what each looks for, its limits, figures and files.

A task is a row of TASKS; its detector is imported when it is first asked for, so that the command
line can list tasks without loading a net's machinery. A new one is a new row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

FORMS = ("coco", "voc", "seginst", "curves")        # files that a test writes on request
METRICS = ("voc", "coco")                           # PASCAL's and SBD's figures, COCO's


@dataclass(frozen=True)
class Task:
    """One way to test a net.

    detector: "module:function" of (nets, image, settings[, regions]) -> ImageDetections.
    """

    name: str
    about: str
    detector: str
    voted: bool = False         # by mask voting, image by image, where settings.voting is on
    masks: bool = True          # results have masks: figures of masks and of their tight boxes
    regions: bool = False       # the detector takes given regions of each image
    pictures: bool = False      # a picture of every image is drawn
    forms: tuple[str, ...] = FORMS

    @property
    def detect(self) -> Callable:
        """The detector; looked up at each call."""
        module, _, name = self.detector.partition(":")
        return getattr(import_module(module), name)

    def limits_classes(self, votes: bool) -> bool:
        """Whether a class keeps its best results over the whole set, and NMS comes after."""
        return not (self.voted and votes)


_ROWS = (
    Task("seg", "instances", "mnc.inference.cascade:find_instances", voted=True),
    Task("det", "boxes", "mnc.inference.cascade:find_boxes", masks=False,
         forms=("coco", "voc", "curves")),
    Task("cfm", "instances from proposals", "mnc.inference.cfm:find_regions", regions=True),
    Task("vis_seg", "instances, with pictures of them", "mnc.inference.cascade:find_instances",
         voted=True, pictures=True))
TASKS: dict[str, Task] = {row.name: row for row in _ROWS}


def task_named(task: str | Task) -> Task:
    """The task of this name, or the task itself.

    Raises ValueError if there is none of that name.
    """
    if isinstance(task, Task):
        return task
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r}; there are {', '.join(TASKS)}")
    return TASKS[task]
