"""Does a net fit a data set and the configuration? If not: the command that makes one that does."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from caffe.extend import named_file, parse_yaml, read_net, read_solver
from caffe.proto import caffe_pb2
from mnc.config import cfg
from mnc.nets.command import GENERATED, NAMES, NetError, generate_command
from mnc.nets.layout import Layout
from mnc.nets.solvers import SOLVERS
from mnc.nets.unread_keys import warn_of_unread_keys


class TrainingError(NetError):
    """A net that does not fit the data set or the configuration; the message says what to do."""


def train_net_path(solver: str | os.PathLike | caffe_pb2.SolverParameter) -> Path:
    """The train net a solver names: from the working directory, else beside the solver file.

    Raises TrainingError where it names none.
    """
    file = Path(solver) if isinstance(solver, (str, os.PathLike)) else None
    param: Any = read_solver(str(solver)) if file else solver
    name = param.train_net or param.net
    if not name:
        raise TrainingError(f"{file or 'the solver'}: it names no train_net")
    return named_file(name, file.parent if file else None)


def check_net(path: str | Path, classes: Sequence[str]) -> None:
    """TrainingError unless the net has an output for each class, each configured anchor and each
    cell of a mask."""
    net = read_net(str(path))
    anchors = len(cfg.ANCHOR_SCALES) * len(cfg.ANCHOR_RATIOS)
    found = {layer.name: layer for layer in net.layer}
    have_classes, have_anchors = _num_classes(found), anchors
    scores = next((name for name in found if name.startswith("rpn_cls_score")), None)
    if scores:          # of a pyramid those of its first map
        have_anchors = found[scores].convolution_param.num_output // 2
    wrong = []
    if have_classes not in (None, len(classes)):
        wrong.append(f"it is for {have_classes} classes, the data set has {len(classes)} "
                     f"({', '.join(classes)})")
    if have_anchors != anchors:
        wrong.append(f"it has {have_anchors} anchors per cell, the configuration {anchors} "
                     "(ANCHOR_SCALES x ANCHOR_RATIOS)")
    if wrong:
        raise TrainingError(f"{path}: this net does not fit: {'; '.join(wrong)}. "
                            f"{_remedy(path, net, len(classes), anchors)}")
    side = _mask_side(found)
    if side not in (None, cfg.MASK_SIZE):
        raise TrainingError(f"{path}: this net's masks are {side} x {side}, the configuration says "
                            f"MASK_SIZE {cfg.MASK_SIZE}: --set MASK_SIZE {side}")
    warn_of_unread_keys(net, path)


def _mask_side(layers: dict[str, caffe_pb2.LayerParameter]) -> int | None:
    """Of fully connected masks from their number of cells; convolved ones are as large as the
    warped RoI. None where there are none that we know."""
    if "up_maskest" in layers:
        return next((int(layer.roi_warping_param.pooled_h) for layer in layers.values()
                     if layer.HasField("roi_warping_param")), None)
    if "mask_pred" in layers and layers["mask_pred"].HasField("inner_product_param"):
        return math.isqrt(layers["mask_pred"].inner_product_param.num_output)
    return None


def _num_classes(layers: dict[str, caffe_pb2.LayerParameter]) -> int | None:
    """From the data layer of a train net, else from the class scores; None if it has neither."""
    if "input-data" in layers:
        options = parse_yaml(layers["input-data"].python_param.param_str) or {}
        if "num_classes" in options:
            return options["num_classes"]
    for name in ("cls_score", "seg_cls_score"):
        if name in layers:
            return layers[name].inner_product_param.num_output
    return None


def _remedy(path: str | Path, net: caffe_pb2.NetParameter, classes: int, anchors: int) -> str:
    made = how_to_make(path, net, classes, anchors)
    if made is None:
        return "Change its num_classes, num_output and anchors to match."
    command, folder = made
    return f"This makes the right one:\n    {command}\nthen use the prototxt files in {folder}"


def how_to_make(path: str | Path, net: caffe_pb2.NetParameter, classes: int,
                anchors: int) -> tuple[str, str] | None:
    """(command, its output folder) for a net like that of `path`, of other classes and anchors.

    net: what the file holds. None if it is not one of ours or of the public code's.
    """
    with open(path, errors="replace") as file:
        first = file.readline()
    if first.startswith(GENERATED):
        words = shlex.split(first.removeprefix(GENERATED))
        options = dict(pairwise(words))
        name, task, layout = options.get("--net"), options.get("--task"), Layout.read(words)
    else:
        names = {written: (name, task) for (name, task), written in NAMES.items()}
        name, task = names.get(net.name, (net.name, Path(path).resolve().parent.name))
        layout = Layout(context=any(layer.name == "context_of_roi" for layer in net.layer))
    if name is None or task is None or (name, task) not in SOLVERS:
        return None
    folder = f"output/models/{name}/{task}{layout.ending}_{classes}_classes"
    command = generate_command(name, task, classes, anchors, folder, layout=layout.flags)
    return command, folder
