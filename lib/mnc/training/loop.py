"""The training loop around a Caffe solver: data bases in, snapshots fit for testing out.

    train("models/Mini/mnc_5stage/solver.prototxt", get_dataset("scenes_train"), "output/mini")
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import caffe
from caffe.extend import locked, signals, train_to
from mnc.config import cfg
from mnc.data.checking import BY_DEFAULT, readable
from mnc.data.dataset import Dataset
from mnc.data.roidb import Entry, prepare
from mnc.drawing.losses import draw_losses
from mnc.nets.fit import TrainingError, check_net, train_net_path
from mnc.nets.settings import save_settings
from mnc.training.bbox_pred import bbox_pred_for_testing, load_for_training
from mnc.training.watching import LossFile, beside_the_work, progress

# The lines that shell scripts look for: the snapshot to test is named just before DONE.
WROTE_SNAPSHOT = "Wrote snapshot to: {}"
DONE = "done solving"

STATE = ".solverstate.h5"
WEIGHTS = ".caffemodel.h5"


@dataclass(frozen=True)
class Care:
    """What happens when things go wrong, and what is left on disk."""

    resume: str | Path | None = None    # a .solverstate.h5, a folder of them, or "auto"
    keep: int = 0                       # snapshots to leave; 0: all
    lock: bool = True                   # refuse an output that another training writes
    on_nan: str = "stop"                # or "skip" the update, or "ignore" it
    bad_data: str = "stop"              # or "skip" images that cannot be read, up to 1 %
    check_data: bool | None = None      # decode every image first; None: where there are few


def train(solver: str | Path | object, dataset: Dataset, output_dir: str | Path,
          weights: str | Path | None = None, max_iters: int = 40000, *,
          care: Care = Care()) -> list[Path]:
    """Train on every image of `dataset`; returns the weight files written, the last one last.

    solver: a solver file or a SolverParameter. weights: initial weights, by layer name. Raises
    TrainingError if the net does not fit, WeightsError if there is nothing whole to go on from.
    """
    return prepared(solver, dataset, output_dir, weights, care=care).train_model(max_iters)


def prepared(solver: str | Path | object, dataset: Dataset, output_dir: str | Path,
             weights: str | Path | None = None, *,
             care: Care = Care()) -> SolverWrapper:
    """All that `train` does before the first iteration."""
    check_net(train_net_path(solver), dataset.classes)
    roidb, maskdb = prepare(dataset, cfg.TRAIN.USE_FLIPPED)
    if care.check_data or (care.check_data is None and len(dataset) <= BY_DEFAULT):
        roidb, maskdb = readable(roidb, maskdb, skip=care.bad_data == "skip")
    wrapper = SolverWrapper(solver, roidb, maskdb, output_dir, weights, care=care)
    wrapper.name_classes(dataset.classes[1:])
    if care.resume:
        wrapper.restore(care.resume)
    return wrapper


class SolverWrapper:
    """A solver whose net reads our data bases and whose snapshots are ready for testing."""

    def __init__(self, solver: str | Path | object, roidb: list[Entry], maskdb: Sequence[Entry],
                 output_dir: str | Path, weights: str | Path | None = None, *,
                 care: Care = Care()) -> None:
        self.output_dir = Path(output_dir)
        self.output_dir.mkdir(parents=True, exist_ok=True)
        self.solver, self.care = caffe.get_solver(solver), care
        self.written: list[Path] = []
        self.initial = weights and Path(weights)
        self.classes: list[str] | None = None       # names without the background's
        if weights:
            load_for_training(self.solver.net, weights)
        param = self.solver.param
        infix = cfg.TRAIN.SNAPSHOT_INFIX
        self.prefix = Path(param.snapshot_prefix).name + (f"_{infix}" if infix else "")
        param.snapshot_prefix = str(self.output_dir / self.prefix)
        param.snapshot_format, param.snapshot = param.HDF5, 0
        self.solver.export, self.solver.take_snapshot = bbox_pred_for_testing, self.snapshot
        self.solver.keep, self.solver.on_nan = care.keep, care.on_nan
        self.losses = LossFile(self.output_dir / f"{self.prefix}_losses.csv", self.solver)
        data: Any = self.solver.net.layers[0]       # the net's own data layer
        data.set_roidb(roidb)
        data.set_maskdb(maskdb)
        data.bad_data = care.bad_data

    def name_classes(self, names: Sequence[str]) -> None:
        """Weights and settings of the snapshots bear these names, without the background's."""
        self.classes = list(names)
        self.solver.net.about["classes"] = json.dumps(self.classes)

    def restore(self, state: str | Path) -> None:
        """Go on where an earlier run took this snapshot, or the newest good one of a folder."""
        found = self.solver.resume(str(state))
        print(f"Resuming from {found}" if found else
              f"No snapshot {self.prefix}_iter_N in {self.output_dir} yet: training begins",
              flush=True)

    def snapshot(self) -> Path:
        """Write PREFIX_iter_N: .yml, the settings; .caffemodel.h5; the state to go on from."""
        path = self.output_dir / f"{self.prefix}_iter_{self.solver.iter}{WEIGHTS}"
        with beside_the_work(f"{path}: no settings beside it"):
            save_settings(path, self.classes)
        self.solver.snapshot()
        print(WROTE_SNAPSHOT.format(path), flush=True)
        self.written.append(path)
        return path

    def _check_initial(self, max_iters: int) -> None:
        """Snapshots may come at any iteration, where a signal asks for them."""
        if not self.initial or self.initial.resolve().parent != self.output_dir.resolve():
            return
        name = re.fullmatch(rf"{re.escape(self.prefix)}_iter_(\d+){re.escape(WEIGHTS)}",
                            self.initial.resolve().name)
        if name and self.solver.iter < int(name[1]) <= max_iters:
            state = f"{str(self.initial).removesuffix(WEIGHTS)}{STATE}"
            raise TrainingError(f"{self.initial}: iteration {name[1]} of this training would be "
                                "written over these initial weights; choose another --out, or go "
                                f"on from them: --resume {state}")

    def train_model(self, max_iters: int) -> list[Path]:
        """Train to max_iters; a snapshot every TRAIN.SNAPSHOT_ITERS (0: none) and at the end.

        Where an error or a signal ends training, a snapshot is taken first. Returns the weight
        files written. Raises TrainingError before the first iteration if a snapshot would be
        written over the initial weights.
        """
        solver = self.solver
        self._check_initial(max_iters)
        self.written = []
        solver.param.snapshot = cfg.TRAIN.SNAPSHOT_ITERS
        with locked(solver.param.snapshot_prefix) if self.care.lock else nullcontext(), \
                signals(solver, SIGINT="stop", SIGTERM="stop", SIGHUP="snapshot"), \
                progress(solver, max_iters), self.losses:
            train_to(solver, max_iters)
        print(DONE, flush=True)
        with beside_the_work("no picture of the losses"):
            draw_losses(self.losses.path, self.losses.path.with_suffix(".png"))
        return self.written
