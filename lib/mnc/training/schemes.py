"""The ways of training that the paper compares, as steps of ordinary training runs.

A step is a train net of models/NET in which one stage learns: the losses of that stage alone, all
layers that an earlier stage needs with learning rate 0. A scheme is the steps in their order; each
starts from what the steps before it have learned. This is training, whoever asks for it: today
mnc.commands.ablation_runs alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from google.protobuf import text_format

import caffe
from caffe.extend import read_net, read_solver
from caffe.proto import caffe_pb2
from mnc.config import cfg, changes_in_file, overridden
from mnc.data.roidb import prepare
from mnc.nets.fit import TrainingError, check_net
from mnc.schemes import Scheme, Step
from mnc.training.bbox_pred import load_for_training
from mnc.training.freezing import freeze
from mnc.training.loop import SolverWrapper

LOSSES = {1: ("rpn_loss_cls", "rpn_loss_bbox"), 2: ("loss_mask",),
          3: ("loss_cls", "loss_seg_cls", "loss_bbox")}
ENDINGS = {1: "", 2: "_stage2", 3: "_stage3"}      # of a stage's own features in mnc_separate
DECAY = 0.8     # of a step's iterations; then the rate falls, as in the solvers under models/

Weights = dict[str, list[np.ndarray]]              # by layer, as training holds them


@dataclass(frozen=True)
class Places:
    """Where the nets and configurations of a NET are."""

    models: Path                     # TASK/{train,test,solver}.prototxt
    cfgs: Path                       # TASK.yml
    held: Sequence[str] = ()         # keys that stay as cfg has them, whatever the files say

    def prototxt(self, task: str, phase: str) -> Path:
        return self.models / task / f"{phase}.prototxt"

    def configuration(self, task: str) -> AbstractContextManager:
        """cfg is that of the task meanwhile."""
        changes = changes_in_file(self.cfgs / f"{task}.yml")
        return overridden({key: value for key, value in changes.items() if key not in self.held})


def train_scheme(scheme: Scheme, places: Places, dataset, output: Path, iterations: int,
                 weights: str | None = None) -> Path:
    """Train step after step, `iterations` in all; returns the weights to test."""
    learned: Weights = {}
    for number, (step, iters) in enumerate(zip(scheme.steps, shares(iterations, scheme)), 1):
        with places.configuration(step.task):
            solver = step_solver(step, places, output / f"step{number}", iters)
            check_net(solver.train_net, dataset.classes)
            roidb, maskdb = prepare(dataset, cfg.TRAIN.USE_FLIPPED)
            wrapper = SolverWrapper(solver, roidb, maskdb, output / f"step{number}")
            net = wrapper.solver.net
            start(net, step, learned, weights)
            path = trained(wrapper, iters)
            learned |= {name: [blob.data.copy() for blob in blobs]
                        for name, blobs in net.params.items()}
    return path


def trained(wrapper: SolverWrapper, iterations: int) -> Path:
    """The weights after so many iterations; TrainingError if Ctrl-C ended them early."""
    written = wrapper.train_model(iterations)
    if wrapper.solver.iter < iterations:
        raise TrainingError(f"stopped at iteration {wrapper.solver.iter} of {iterations}; "
                            "next time this run starts over")
    return written[-1]


def shares(iterations: int, scheme: Scheme) -> list[int]:
    """Iterations of each step; they add up.

    Raises TrainingError for fewer iterations than steps.
    """
    if iterations < len(scheme.steps):
        raise TrainingError(f"{iterations} iterations are too few for {len(scheme.steps)} steps")
    ends = [iterations * k // len(scheme.steps) for k in range(len(scheme.steps) + 1)]
    return [end - begin for begin, end in pairwise(ends)]


def start(net, step: Step, learned: Weights, weights: str | None = None) -> None:
    """Give the net the initial weights, and over them what earlier steps have learned."""
    if weights:
        load_for_training(net, weights)
        first = {name: [blob.data.copy() for blob in blobs] for name, blobs in net.params.items()}
        for ending in (ENDINGS[2], ENDINGS[3]):
            give(net, {f"{name}{ending}": values for name, values in first.items()})
    give(net, learned)
    if step.features_of and step.stage:
        source, target = ENDINGS[step.features_of], ENDINGS[step.stage]
        give(net, {name.removesuffix(source) + target: values
                   for name, values in learned.items() if name.endswith(source)})


def give(net, weights: Weights) -> None:
    """Copy into the layers of these names; names that the net lacks are nothing to it."""
    for name, values in weights.items():
        for blob, value in zip(net.params.get(name, ()), values):
            blob.data[...] = value


# --- the net of a step ---------------------------------------------------------------------------

def step_solver(step: Step, places: Places, folder: Path,
                iterations: int) -> caffe_pb2.SolverParameter:
    """The task's solver, on a train net of the step's own in `folder`."""
    net = read_net(str(places.prototxt(step.task, "train")))
    if step.stage:
        net = step_net(net, step.stage, step.keep_features)
    solver = read_solver(str(places.prototxt(step.task, "solver")))
    folder.mkdir(parents=True, exist_ok=True)
    solver.train_net = str(folder / "train.prototxt")
    solver.stepsize = max(round(DECAY * iterations), 1)
    Path(solver.train_net).write_text(text_format.MessageToString(net))
    return solver


def step_net(net: caffe_pb2.NetParameter, stage: int,
             keep_features: bool = False) -> caffe_pb2.NetParameter:
    """The part of a three-stage train net that one stage's losses depend on.

    A stage learns the layers that no stage before it needs; the others keep their weights, and no
    gradient goes to them.
    """
    wanted = needed(net, LOSSES[stage])
    fixed = {name for earlier in range(1, stage) for name in needed(net, LOSSES[earlier])}
    if keep_features:
        fixed |= needed(net, ["rpn_conv_3x3"]) - {"rpn_conv_3x3"}
    part = caffe_pb2.NetParameter(name=net.name)
    moving: set[str] = set()
    for layer in net.layer:
        if layer.name not in wanted:
            continue
        part.layer.add().CopyFrom(layer)
        if layer.name in fixed:
            freeze(part.layer[-1])
        else:
            moving.update(layer.top)
        part.layer[-1].propagate_down[:] = [
            flag and blob in moving for flag, blob in zip(layer.propagate_down, layer.bottom)]
    silence(part, LOSSES[stage])
    return part


def needed(net: caffe_pb2.NetParameter, layers: Sequence[str]) -> set[str]:
    """Names of these layers and of all that they depend on."""
    names, blobs = set[str](), set[str]()
    for layer in reversed(net.layer):
        if layer.name in layers or blobs.intersection(layer.top):
            names.add(layer.name)
            blobs.update(layer.bottom)
    return names


def silence(net: caffe_pb2.NetParameter, losses: Sequence[str]) -> None:
    """What nothing reads any more is no output of the net."""
    read = {blob for layer in net.layer for blob in layer.bottom}
    unread = [blob for layer in net.layer for blob in layer.top
              if blob not in read and layer.name not in losses]
    if unread:
        net.layer.add(name="unread", type="Silence", bottom=unread)


def seed(number: int) -> None:
    """What is random from here on follows from the number."""
    np.random.seed(number)
    caffe.set_random_seed(number)
