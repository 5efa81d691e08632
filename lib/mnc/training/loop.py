"""The training loop around a Caffe solver: data bases in, snapshots fit for testing out.

    train("models/Mini/mnc_5stage/solver.prototxt", get_dataset("scenes_train"), "output/mini")
"""

from __future__ import annotations

import csv
import logging
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

import caffe
from mnc.config import cfg
from mnc.data.roidb import Entry, prepare
from mnc.drawing.losses import draw_losses
from mnc.nets.fit import check_net, train_net_path
from mnc.nets.settings import save_settings

log = logging.getLogger("mnc")

# The lines that shell scripts look for: the snapshot to test is named just before DONE.
WROTE_SNAPSHOT = "Wrote snapshot to: {}"
DONE = "done solving"

STATE = ".solverstate.h5"
WEIGHTS = ".caffemodel.h5"


def train(solver, dataset, output_dir: str | Path, weights: str | Path | None = None,
          max_iters: int = 40000, *, resume: str | Path | None = None) -> list[Path]:
    """Train on every image of `dataset`; returns the weight files written, the last one last.

    solver: a solver file or a SolverParameter. weights: initial weights, by layer name.
    resume: a .solverstate.h5 that an earlier run wrote.
    """
    check_net(train_net_path(solver), dataset.classes)
    roidb, maskdb = prepare(dataset, cfg.TRAIN.USE_FLIPPED)
    wrapper = SolverWrapper(solver, roidb, maskdb, output_dir, weights)
    if resume:
        wrapper.restore(resume)
    return wrapper.train_model(max_iters)


class SolverWrapper:
    """A solver whose net reads our data bases and whose snapshots are ready for testing."""

    def __init__(self, solver, roidb: list[Entry], maskdb: Sequence[Entry], output_dir: str | Path,
                 weights: str | Path | None = None):
        self.output_dir = Path(output_dir)
        self.output_dir.mkdir(parents=True, exist_ok=True)
        self.solver = caffe.get_solver(solver)
        if weights:
            load_for_training(self.solver.net, weights)
        param = self.solver.param
        infix = cfg.TRAIN.SNAPSHOT_INFIX
        self.prefix = Path(param.snapshot_prefix).name + (f"_{infix}" if infix else "")
        param.snapshot_prefix = str(self.output_dir / self.prefix)
        param.snapshot_format, param.snapshot = param.HDF5, 0
        self.solver.export = bbox_pred_for_testing
        data: Any = self.solver.net.layers[0]       # the net's own data layer
        data.set_roidb(roidb)
        data.set_maskdb(maskdb)

    def restore(self, state: str | Path) -> None:
        """Go on where an earlier run took this snapshot."""
        self.solver.restore(str(state))

    def snapshot(self) -> Path:
        """Write PREFIX_iter_N: .yml, the settings; .caffemodel.h5; the state to go on from."""
        path = self.output_dir / f"{self.prefix}_iter_{self.solver.iter}{WEIGHTS}"
        save_settings(path)
        self.solver.snapshot()
        print(WROTE_SNAPSHOT.format(path), flush=True)
        return path

    def train_model(self, max_iters: int) -> list[Path]:
        """Train to max_iters; a snapshot every TRAIN.SNAPSHOT_ITERS (0: none) and at the end.

        Where an error ends training, an image that does not decode say, a snapshot is taken first.
        """
        written: list[Path] = []
        solver = self.solver
        with interrupt_stops(solver), progress(solver, max_iters), self._loss_file():
            while solver.iter < max_iters and not solver.stop_requested:
                due, start = cfg.TRAIN.SNAPSHOT_ITERS or max_iters, solver.iter
                try:
                    solver.step(min(due - solver.iter % due, max_iters - solver.iter))
                finally:
                    if solver.iter > start:
                        written.append(self.snapshot())
        print(DONE, flush=True)         # nothing may come between: scripts read both lines
        try_to_draw(self._losses)
        return written

    @property
    def _losses(self) -> Path:
        return self.output_dir / f"{self.prefix}_losses.csv"

    @contextmanager
    def _loss_file(self) -> Iterator[None]:
        with LossFile(self._losses, self.solver) as losses:
            self.solver.add_callback(_nothing, losses.record)
            yield


@contextmanager
def bbox_pred_for_testing(net) -> Iterator[Sequence[str]]:
    """bbox_pred as a test needs it, row by row w' = w * std, b' = b * std + mean; then as before.

    Training predicts (delta - mean) / std. Yields the names of the layers changed meanwhile.
    """
    if not predicts_normalized(net):
        yield ()
        return
    weight, bias = (blob.tensor for blob in net.params["bbox_pred"])               # (4K, D), (4K,)
    means, stds = normalization(bias)
    before = weight.clone(), bias.clone()
    weight.mul_(stds[:, None])
    bias.mul_(stds).add_(means)
    try:
        yield ("bbox_pred",)
    finally:
        weight.copy_(before[0])
        bias.copy_(before[1])


def load_for_training(net, weights: str | Path) -> None:
    """Copy weights by layer name; bbox_pred, which files hold for testing, is normalised again."""
    layer = net.params.get("bbox_pred", [])
    before, sums = [blob.tensor.clone() for blob in layer], _sums(net)
    net.copy_from(str(weights), required=True)
    _warn_of_missing_mask_path(weights, sums, _sums(net))
    if not predicts_normalized(net) or all(map(torch.equal, before, (b.tensor for b in layer))):
        return
    weight, bias = (blob.tensor for blob in layer)
    means, stds = normalization(bias)
    weight.div_(stds[:, None])
    bias.sub_(means).div_(stds)


def _sums(net) -> dict[str, float]:
    """By layer, of those on the masked path and of their like on the box path."""
    pairs = [(name.removesuffix("_mask"), name) for name in net.params if name.endswith("_mask")]
    return {name: float(net.params[name][0].tensor.sum(dtype=torch.float64))
            for pair in pairs if pair[0] in net.params for name in pair}


def _warn_of_missing_mask_path(weights: str | Path, before: dict[str, float],
                               after: dict[str, float]) -> None:
    """Where a file has filled the layers of the box path and not their like, fc7_mask of fc7."""
    changed = {name for name in before if before[name] != after[name]}
    missing = [name for name in before if name.endswith("_mask") and name not in changed
               and name.removesuffix("_mask") in changed]
    if missing:
        log.warning("%s has nothing for %s, which start from random values; "
                    "tools/make_mask_init.py makes a file that has", weights, ", ".join(missing))


def predicts_normalized(net) -> bool:
    """Whether bbox_pred is trained on normalised targets."""
    train = cfg.TRAIN
    return (train.BBOX_REG and train.BBOX_NORMALIZE_TARGETS
            and train.BBOX_NORMALIZE_TARGETS_PRECOMPUTED and "bbox_pred" in net.params)


def normalization(bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(means, stds), one of each for every output of bbox_pred: (4K,)"""
    means, stds = (bias.new_tensor(values).repeat(len(bias) // 4)
                   for values in (cfg.TRAIN.BBOX_NORMALIZE_MEANS, cfg.TRAIN.BBOX_NORMALIZE_STDS))
    return means, stds


# --- watching ------------------------------------------------------------------------------------

class LossFile:
    """CSV with the mean of every scalar output over `display` iterations: `iteration,NAME,NAME…`.

    Rows of an earlier run stay up to the iteration that is gone on from.
    """

    def __init__(self, path: Path, solver):
        self.solver = solver
        self.names = [name for name in solver.net.outputs if solver.net.blobs[name].count == 1]
        self.every = max(solver.param.display, 1)
        self._sums, self._count = np.zeros(len(self.names)), 0
        earlier = _rows_until(path, solver.iter)
        self._file = open(path, "w", newline="")      # noqa: SIM115 (closed by __exit__)
        self._csv = csv.writer(self._file)
        self._csv.writerows([["iteration", *self.names], *earlier])

    def __enter__(self) -> LossFile:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def record(self) -> None:
        """Take the outputs of the present iteration; the solver calls this before the update."""
        if self._file.closed:
            return
        net = self.solver.net
        self._sums += [float(net.blobs[name].tensor) for name in self.names]
        self._count += 1
        if (self.solver.iter + 1) % self.every == 0:
            self._csv.writerow([self.solver.iter + 1,
                                *(f"{v:.6g}" for v in self._sums / self._count)])
            self._file.flush()
            self._sums, self._count = np.zeros(len(self.names)), 0


def _rows_until(path: Path, iteration: int) -> list[list[str]]:
    if not iteration or not path.is_file():
        return []
    with open(path, newline="") as file:
        return [row for row in list(csv.reader(file))[1:] if int(row[0]) <= iteration]


def try_to_draw(losses: Path) -> None:
    """The picture beside PREFIX_losses.csv; training has ended well even where drawing fails."""
    try:
        draw_losses(losses, losses.with_suffix(".png"))
    except Exception as error:
        log.warning("%s: no picture of the losses (%s: %s)", losses, type(error).__name__, error)


@contextmanager
def progress(solver, max_iters: int) -> Iterator[None]:
    """A bar on a terminal; in a log file nothing but the solver's own lines."""
    with tqdm(total=max_iters, initial=solver.iter, unit="it", desc="training",
              disable=not sys.stderr.isatty()) as bar:
        solver.add_callback(_nothing, bar.update)
        yield


@contextmanager
def interrupt_stops(solver) -> Iterator[None]:
    """Ctrl-C ends training after this iteration, with a snapshot; a second one ends it at once."""
    def stop(number, frame) -> None:
        signal.signal(signal.SIGINT, before)
        solver.stop_requested = True

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _nothing() -> None:
    pass
