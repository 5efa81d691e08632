"""Train net, test net and solver of a task, written into a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mnc.nets import cascade
from mnc.nets.backbones import NETS, SOLVER_DEFAULTS, SOLVERS
from mnc.nets.prototxt import message

TASKS = {"mnc_5stage": (cascade.train_net, cascade.test_net)}
ANCHORS = 9                            # 3 scales x 3 ratios


class NetError(ValueError):
    """A net, a task or a size that cannot be generated."""


def generate(net: str, task: str, folder: str | Path, *, classes: int | None = None,
             anchors: int = ANCHORS) -> list[Path]:
    """Write train.prototxt, test.prototxt and solver.prototxt of a task; returns the three paths.

    classes counts the background; None takes the number the net was laid out for.
    """
    _check(net, task, classes, anchors)
    folder = Path(folder)
    sizes = replace(NETS[net], classes=classes or NETS[net].classes)
    train, test = TASKS[task]
    origin = f"# Generated: {generate_command(net, task, sizes.classes, anchors)}\n"
    texts = {"train": train(net, sizes, anchors), "test": test(net, sizes, anchors),
             "solver": solver(net, task, folder)}
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in texts.items():
        paths.append(folder / f"{name}.prototxt")
        paths[-1].write_text(origin + text)
    return paths


def solver(net: str, task: str, folder: Path) -> str:
    fields = {"train_net": (folder / "train.prototxt").as_posix(),
              **SOLVER_DEFAULTS, **SOLVERS[net, task],
              # mnc takes the snapshots itself: bbox_pred has to be un-normalised in them
              "snapshot": 0, "snapshot_prefix": f"{net.lower()}_{task}"}
    return "\n".join(message(fields)) + "\n"


def generate_all(models: str | Path) -> list[Path]:
    """Every net of the project, into MODELS/NET/TASK."""
    return [path for net, task in SOLVERS
            for path in generate(net, task, Path(models) / net / task)]


def generate_command(net: str, task: str, classes: int, anchors: int = ANCHORS,
                     folder: str | Path | None = None) -> str:
    out = f" --out {folder}" if folder else ""
    return (f"python models/generate.py --net {net} --task {task} --classes {classes} "
            f"--anchors {anchors}{out}")


def _check(net: str, task: str, classes: int | None, anchors: int) -> None:
    if (net, task) not in SOLVERS:
        known = ", ".join(f"{n} {t}" for n, t in SOLVERS)
        raise NetError(f"no net {net!r} for task {task!r}; there are: {known}")
    if classes is not None and classes < 2:
        raise NetError(f"classes must be 2 or more (the background counts), got {classes}")
    if anchors < 1:
        raise NetError(f"anchors must be 1 or more, got {anchors}")
