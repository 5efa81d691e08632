"""The solver of each net and task: the list of what is under models/."""

from __future__ import annotations

from pathlib import Path

from mnc.nets.prototxt import message

DEFAULTS: dict[str, object] = {
    "base_lr": 0.001, "lr_policy": "step", "gamma": 0.1, "stepsize": 20000, "display": 100,
    "average_loss": 100, "momentum": 0.9, "weight_decay": 0.0005,
}
# What a task changes of the defaults; 1 image a step, so iter_size is the size of a batch.
SGD: dict[str, dict[str, object]] = {
    "mnc_5stage": {"iter_size": 8},
    "mnc_3stage": {"iter_size": 8},
    "mnc_5stage_paper": {"stepsize": 32000, "iter_size": 8},
    "mnc_separate": {"iter_size": 8},
    "cfm": {"iter_size": 8},
    "faster_rcnn_end2end": {"stepsize": 50000, "display": 20, "iter_size": 2},
}
# From random initialisation Adam gets in 500 iterations where SGD with 0.01 gets in 900.
ADAM: dict[str, object] = {"type": "Adam", "base_lr": 0.0007, "momentum2": 0.999,
                           "stepsize": 8000, "display": 20}
RESNET = tuple(task for task in SGD if task not in ("cfm", "mnc_separate"))
LATE = ("mnc_5stage", "mnc_3stage", "faster_rcnn_end2end")
LITE = ("mnc_5stage", "mnc_3stage")
ZF = tuple(task for task in SGD if task != "cfm")

SOLVERS: dict[tuple[str, str], dict[str, object]] = {
    **{("VGG16", task): changes for task, changes in SGD.items()},
    **{("ZF", task): SGD[task] for task in ZF},
    **{(net, task): SGD[task] for net in ("ResNet50", "ResNet101") for task in RESNET},
    **{(net, task): SGD[task] for net in ("ResNet50v1.5", "ResNet101v1.5") for task in LATE},
    **{("Lite0", task): ADAM for task in LITE},
    **{("Mini", task): ADAM for task in SGD},
}
# Snapshots are named NET_TASK, but for these two of the public code.
PREFIXES = {("VGG16", "cfm"): "cfm"}
SHORT = {"faster_rcnn_end2end": "faster_rcnn"}


def solver(net: str, task: str, folder: Path) -> str:
    """The text of solver.prototxt of the train net in `folder`."""
    prefix = PREFIXES.get((net, task), f"{net.lower()}_{SHORT.get(task, task)}")
    fields = {"train_net": (folder / "train.prototxt").as_posix(),
              **DEFAULTS, **SOLVERS[net, task],
              # mnc takes the snapshots itself: bbox_pred has to be un-normalised in them
              "snapshot": 0, "snapshot_prefix": prefix}
    return "\n".join(message(fields)) + "\n"
