"""What is seen of a training: its losses in a file, a bar on a terminal. None of it may cost it."""

from __future__ import annotations

import csv
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import numpy as np
from tqdm import tqdm

from caffe.extend import Solver, atomic_path
from mnc.drawing.losses import read_rows

log = logging.getLogger("mnc")


@contextmanager
def beside_the_work(what: str) -> Iterator[None]:
    """An error in here is a warning: what the file is beside is worth more."""
    try:
        yield
    except Exception as error:
        log.warning("%s: %s: %s", what, type(error).__name__, error)


class LossFile:
    """CSV with the mean of every scalar output over `display` iterations: `iteration,NAME,NAME…`.

    Rows of an earlier run stay up to the iteration that is gone on from; the sums of a row that is
    not full are in the solver state.
    """

    def __init__(self, path: Path, solver: Solver) -> None:
        self.path, self.solver = path, solver
        self.names = [name for name in solver.net.outputs if solver.net.blobs[name].count == 1]
        self.every = max(solver.param.display, 1)
        self._sums, self._count = np.zeros(len(self.names)), 0
        self._file: TextIO | None = None
        solver.companions["losses"] = self
        solver.add_callback(_nothing, self.record)

    def __enter__(self) -> LossFile:
        with beside_the_work(f"{self.path}: no losses are kept"):
            self._file = self._opened()
        return self

    def __exit__(self, *error: object) -> None:
        with beside_the_work(f"{self.path}: the last losses are not kept"):
            if self._file is not None:
                self._file.close()
        self._file = None

    def _opened(self) -> TextIO:
        """At its end, without rows of iterations that come again or were cut."""
        header = ["iteration", *self.names]
        names, rows = read_rows(self.path) if self.solver.iter and self.path.is_file() \
            else (header, [])
        kept = [dict(zip(names, row)) for row in rows if int(float(row[0])) <= self.solver.iter]
        with atomic_path(self.path) as temporary, open(temporary, "w", newline="") as file:
            csv.writer(file).writerows([header, *([row.get(name, "") for name in header]
                                                  for row in kept)])
        return open(self.path, "a", newline="")

    def record(self) -> None:
        """Take the outputs of the present iteration; the solver calls this before the update."""
        if self._file is None:
            return
        net = self.solver.net
        self._sums += [float(net.blobs[name].tensor) for name in self.names]
        self._count += 1
        if (self.solver.iter + 1) % self.every == 0:
            with beside_the_work(f"{self.path}: a row is lost"):
                self._write([self.solver.iter + 1, *(f"{v:.6g}" for v in self._sums / self._count)])
            self._sums, self._count = np.zeros(len(self.names)), 0

    def _write(self, row: list[object]) -> None:
        assert self._file is not None
        csv.writer(self._file).writerow(row)
        self._file.flush()

    def snapshot_state(self) -> bytes:
        """The sums since the last row."""
        return json.dumps({"names": self.names, "sums": self._sums.tolist(),
                           "count": self._count}).encode()

    def restore_state(self, state: bytes) -> None:
        """Go on with those sums, if they are of the same outputs."""
        with beside_the_work(f"{self.path}: the losses since the last row are lost"):
            kept = json.loads(state)
            if kept["names"] == self.names:
                self._sums, self._count = np.array(kept["sums"], float), int(kept["count"])


@contextmanager
def progress(solver: Solver, max_iters: int) -> Iterator[None]:
    """A bar on a terminal; in a log file nothing but the solver's own lines."""
    with tqdm(total=max_iters, initial=solver.iter, unit="it", desc="training",
              disable=not sys.stderr.isatty()) as bar:
        solver.add_callback(_nothing, bar.update)
        yield


def _nothing() -> None:
    pass
