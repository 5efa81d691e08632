"""Train net, test net and solver of a task, written into a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from mnc.nets import cascade, cfm, faster_rcnn
from mnc.nets.backbones import NETS, Sizes
from mnc.nets.command import ANCHORS, GENERATED, NAMES, NetError, generate_command
from mnc.nets.layout import PLAIN, Layout
from mnc.nets.solvers import SOLVERS, solver

Writer = Callable[[str, Sizes, int], str]


@dataclass(frozen=True)
class Task:
    """How the nets of a task are written: (name, sizes, anchors) -> text."""

    train: Writer
    test: Writer
    changes: Mapping[str, object] = field(default_factory=dict)     # of the net's Sizes
    pyramid: bool = True            # its RoIs can be taken from one


PAPER = {"mask_size": 28, "mask_loss": 1, "exact": True}
TASKS: dict[str, Task] = {
    "mnc_5stage": Task(cascade.train_net, cascade.test_net),
    "mnc_3stage": Task(partial(cascade.train_net, stages=3), partial(cascade.test_net, stages=3)),
    "mnc_5stage_paper": Task(cascade.train_net, cascade.test_net, PAPER),
    "mnc_separate": Task(partial(cascade.train_net, stages=3), cascade.test_net,
                         {"separate": True}, pyramid=False),
    "cfm": Task(cfm.train_net, cfm.test_net, pyramid=False),
    "faster_rcnn_end2end": Task(faster_rcnn.train_net, faster_rcnn.test_net),
}


def generate(net: str, task: str, folder: str | Path, *, classes: int | None = None,
             anchors: int = ANCHORS, layout: Layout = PLAIN) -> list[Path]:
    """Write train.prototxt, test.prototxt and solver.prototxt of a task; returns the three paths.

    classes counts the background; None takes the number the net was laid out for. anchors: those of
    a cell, in a pyramid of any of its maps. Raises NetError for what there is not, and where a file
    would be written over that was not generated.
    """
    _check(net, task, classes, anchors)
    folder = Path(folder)
    sizes = sizes_of(net, task, layout)
    sizes = replace(sizes, classes=classes or sizes.classes)
    command = generate_command(net, task, sizes.classes, anchors, layout=layout.flags)
    texts = {**net_texts(net, task, sizes, anchors), "solver": solver(net, task, folder)}
    folder.mkdir(parents=True, exist_ok=True)
    paths = {folder / f"{name}.prototxt": text for name, text in texts.items()}
    for path in filter(Path.exists, paths):
        if not path.read_text(errors="replace").startswith(GENERATED):
            raise NetError(f"{path}: no generated file (its first line would say so), so it is not "
                           "written over; name another folder (--out)")
    for path, text in paths.items():
        path.write_text(f"{GENERATED}{command}\n{text}")
    return [*paths]


def sizes_of(net: str, task: str, layout: Layout = PLAIN) -> Sizes:
    """Of a net for a task; raises NetError for a layout that does not go with it."""
    changes: dict[str, Any] = dict(TASKS[task].changes)
    if layout.features == "pyramid" and not TASKS[task].pyramid:
        raise NetError(f"there is no feature pyramid for the task {task}")
    return layout.of(replace(NETS[net], **changes))


def net_texts(net: str, task: str, sizes: Sizes, anchors: int = ANCHORS) -> dict[str, str]:
    """{"train": text, "test": text} of a net of these sizes."""
    name = NAMES.get((net, task), net)
    return {phase: getattr(TASKS[task], phase)(name, sizes, anchors)
            for phase in ("train", "test")}


def generate_all(models: str | Path, *, classes: int | None = None,
                 anchors: int = ANCHORS) -> list[Path]:
    """Every net of the project, into MODELS/NET/TASK."""
    return [path for net, task in SOLVERS
            for path in generate(net, task, Path(models) / net / task, classes=classes,
                                 anchors=anchors)]


def _check(net: str, task: str, classes: int | None, anchors: int) -> None:
    if net not in NETS:
        raise NetError(f"no net {net!r}; there are: {', '.join(NETS)}")
    if (net, task) not in SOLVERS:
        raise NetError(f"no task {task!r} of the net {net}; there are: "
                       f"{', '.join(t for n, t in SOLVERS if n == net)}")
    if classes is not None and classes < 2:
        raise NetError(f"classes must be 2 or more (the background counts), got {classes}")
    if anchors < 1:
        raise NetError(f"anchors must be 1 or more, got {anchors}")
