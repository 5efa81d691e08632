"""The training loop around a Caffe solver: data bases in, snapshots fit for testing out.

    train("models/Mini/mnc_5stage/solver.prototxt", get_dataset("scenes_train"), "output/mini")
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import caffe
from caffe.extend import (
    Metrics,
    Sharing,
    Team,
    TensorBoard,
    iteration_of,
    locked,
    signals,
    train_to,
)
from mnc.config import cfg
from mnc.data.checking import BY_DEFAULT, readable
from mnc.data.dataset import Dataset
from mnc.data.roidb import Entry, prepare
from mnc.drawing.losses import draw_losses
from mnc.nets.fit import TrainingError, check_net, train_net_path
from mnc.nets.settings import save_settings
from mnc.training.arithmetic import take_settings
from mnc.training.bbox_pred import bbox_pred_for_testing, load_for_training
from mnc.training.judging import Judge, Validation
from mnc.training.watching import Table, beside_the_work, line_on_terminal, say

# The lines that shell scripts look for: the snapshot to test is named just before DONE.
WROTE_SNAPSHOT = "Wrote snapshot to: {}"
DONE = "done solving"

STOPPED_BY = {int(signal.SIGINT): "Ctrl-C", int(signal.SIGTERM): "SIGTERM"}

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
    validation: Validation | None = None    # measures the weights now and then
    tensorboard: bool = False           # the figures as TensorBoard's files, too
    team: Team = field(default_factory=Team)            # the workers that train together
    sharing: Sharing = field(default_factory=Sharing)   # and how


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
    wrapper.metrics.iterations_of_an_epoch = len(dataset) / (
        wrapper.solver.param.iter_size * cfg.TRAIN.IMS_PER_BATCH * care.team.count)
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
        take_settings(self.solver)
        self.metrics = Metrics(self.solver, self.output_dir / "metrics.jsonl")
        self.judge = care.validation and Judge(
            self.solver, self.metrics, care.validation, folder=self.output_dir / "validation",
            keep=self.keep_best, team=care.team)
        self.metrics.sinks.append(Table(
            self.output_dir / "metrics.csv", self.metrics.names,
            care.validation.figures if care.validation else ()))
        if care.tensorboard:
            self.metrics.sinks.append(TensorBoard(self.output_dir / "tensorboard"))
        data: Any = self.solver.net.layers[0]       # the net's own data layer
        data.set_roidb(roidb)
        data.set_maskdb(maskdb)
        data.bad_data = care.bad_data
        self.solver.join(care.team, care.sharing)

    def name_classes(self, names: Sequence[str]) -> None:
        """Weights and settings of the snapshots bear these names, without the background's."""
        self.classes = list(names)
        self.solver.net.about["classes"] = json.dumps(self.classes)

    def restore(self, state: str | Path) -> None:
        """Go on where an earlier run took this snapshot, or the newest good one of a folder."""
        found = self.solver.resume(str(state))
        if not self.care.team.rank:
            say(f"Resuming from {found}" if found else
                f"No snapshot {self.prefix}_iter_N in {self.output_dir} yet: training begins")

    def snapshot(self) -> Path:
        """Write PREFIX_iter_N: .yml, the settings; .caffemodel.h5; the state to go on from."""
        path = self.output_dir / f"{self.prefix}_iter_{self.solver.iter}{WEIGHTS}"
        with beside_the_work(f"{path}: no settings beside it"):
            save_settings(path, self.classes)
        self.solver.snapshot()
        say(WROTE_SNAPSHOT.format(path))
        self.written.append(path)
        return path

    def keep_best(self, figures: dict[str, float]) -> Path:
        """Write PREFIX_best: .yml and .caffemodel.h5, which says its iteration and figures.

        To be called while the weights are as they are tested.
        """
        path, net = self.output_dir / f"{self.prefix}_best{WEIGHTS}", self.solver.net
        with beside_the_work(f"{path}: no settings beside it"):
            save_settings(path, self.classes)
        before = dict(net.about)
        net.about["validation"] = json.dumps({"iteration": self.solver.iter, **figures})
        with beside_the_work(f"{path}: the best weights so far are not kept"):
            net.save_hdf5(str(path))
        net.about.clear()
        net.about.update(before)
        return path

    def _check_initial(self, max_iters: int) -> None:
        number = self.initial and iteration_of(self.solver, self.initial, max_iters)
        if number:
            state = f"{str(self.initial).removesuffix(WEIGHTS)}{STATE}"
            raise TrainingError(f"{self.initial}: iteration {number} of this training would be "
                                "written over these initial weights; choose another --out, or go "
                                f"on from them: --resume {state}")

    def train_model(self, max_iters: int, **about: object) -> list[Path]:
        """Train to max_iters; a snapshot every TRAIN.SNAPSHOT_ITERS (0: none) and at the end.

        Where an error or a signal ends training, a snapshot is taken first. about: words for the
        row "run" of the figures. Returns the weight files written. Raises TrainingError before the
        first iteration if a snapshot would be written over the initial weights.
        """
        solver, metrics = self.solver, self.metrics
        self._check_initial(max_iters)
        self.written = []
        solver.param.snapshot, metrics.end = cfg.TRAIN.SNAPSHOT_ITERS, max_iters
        try:
            with signals(solver, SIGINT="stop", SIGTERM="stop", SIGHUP="snapshot"):
                if self.care.team.rank:         # worker 0 writes and speaks
                    train_to(solver, max_iters)
                    return []
                with locked(solver.param.snapshot_prefix) if self.care.lock else nullcontext(), \
                        self._shown(), metrics.running(**about):
                    train_to(solver, max_iters)
                    metrics.report(end=self.ending())
            if not self.ended_early or (self.judge and self.judge.gave_up):
                say(DONE)
        finally:
            if not self.care.team.rank:
                self._draw_losses()
        return self.written

    def _draw_losses(self) -> None:
        table = self.output_dir / "metrics.csv"
        with beside_the_work("no picture of the losses"):
            if table.is_file():
                draw_losses(table, table.with_name("losses.png"))

    @contextmanager
    def _shown(self) -> Iterator[None]:
        """On a terminal one line says how far it is."""
        judge = self.judge
        with line_on_terminal(self.solver, self.metrics.end, judge.main if judge else "") as line:
            if line is not None:
                self.metrics.sinks.append(line)
                if judge:
                    judge.tell = line.validating
            yield

    @property
    def ended_early(self) -> bool:
        """Whether training did not come to its end."""
        return self.solver.iter < self.metrics.end

    def ending(self) -> str:
        """DONE, or what ended training early."""
        solver, judge = self.solver, self.judge
        if judge and judge.gave_up:
            return (f"stopped at iteration {solver.iter}: nothing better in {judge.worse} "
                    f"validations; the best, of iteration {judge.best_at}: {judge.best_file}")
        if not self.ended_early:
            return DONE
        by = STOPPED_BY.get(solver.stopped_by or 0, "a request")
        return f"stopped at iteration {solver.iter} of {self.metrics.end} by {by}"
