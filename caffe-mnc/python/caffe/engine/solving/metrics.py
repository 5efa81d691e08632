"""The figures of a training while it runs, as rows: for files, a page, a line on a terminal.

A row is a dictionary of one kind, with `iteration` (updates made) and `time` (seconds since 1970):

    run         what is trained: free words of the command, and `iterations`, where it ends
    losses      every `display` iterations: means since the last row of each scalar output, by name
                (`losses`), and of the loss; `lr`; `seconds` of training so far, those of earlier
                runs among them; `seconds_per_iteration`; `eta`, seconds left; `epoch`, if known
    test        of a test net: its outputs by name; `net`, its number
    validation  what a command measured: figures by name
    end         why training ended
"""

from __future__ import annotations

import json
import math
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from caffe.engine import log
from caffe.engine.formats.atomic_file import atomic_path
from caffe.engine.optional import need

if TYPE_CHECKING:
    from caffe.engine.solving.solver import Solver

Row = dict[str, Any]
WINDOW = 50             # rows that the time left is told from
EVERY = 20              # iterations a row, where the solver displays nothing


class Sink(Protocol):
    """Where rows go. What it raises is a warning, and costs no training."""

    def begin(self, iteration: int) -> None:
        """Rows will follow; those of an earlier run stay up to this iteration, of 0 none."""

    def write(self, row: Row) -> None:
        """Take a row."""

    def end(self) -> None:
        """No row will follow."""


class Metrics:
    """Makes the rows of a solver's training and hands them to sinks, between `with` and its end.

    path: of a JsonLines, the first of the sinks. The sums of a row that is not full are in the
    solver state: a training that was broken off gives the rows of one that was not.
    """

    def __init__(self, solver: Solver, path: str | os.PathLike[str],
                 sinks: Sequence[Sink] = ()) -> None:
        self._lines = JsonLines(path)
        self.solver, self.sinks = solver, [self._lines, *sinks]
        self.names = [name for name in solver.net.outputs if solver.net.blobs[name].count == 1]
        self.every = solver.param.display or EVERY
        self.iterations_of_an_epoch: float | None = None
        self.end = solver.param.max_iter        # iterations of the whole training
        self._sums, self._count = np.zeros(1 + len(self.names)), 0
        self._before = 0.0                      # seconds of earlier runs
        self._marks: deque[tuple[int, float]] = deque(maxlen=WINDOW)
        self._began = self._paused = 0.0
        self._working: list[Sink] = []
        solver.companions["metrics"] = self
        solver.add_callback(lambda: None, self._record)
        solver.after_test.append(lambda index, found: self.report(
            test={name: _plain(value) for name, value in found.items()}, net=index))

    # --- the time that is measured ----------------------------------------------------------

    @contextmanager
    def running(self, **about: object) -> Iterator[None]:
        """Rows go to the sinks, first one of the kind "run" with what is said here."""
        self._began = time.monotonic()
        self._marks.clear()
        self._marks.append((self.solver.iter, self._began))
        self._working = [*self.sinks]
        self._each("begin", self.solver.iter)
        self._before = self._lines.seconds
        self.report(run={"iterations": self.end, **about})
        try:
            yield
        except BaseException as error:
            self.report(end=str(error) or type(error).__name__)
            raise
        finally:
            self._each("end")
            self._working = []

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is done meanwhile counts in the seconds of training, not of its iterations."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._paused += time.monotonic() - began

    @property
    def seconds(self) -> float:
        """Of training so far, earlier runs among them."""
        return self._before + (time.monotonic() - self._began if self._began else 0)

    # --- rows -------------------------------------------------------------------------------

    def report(self, **row: object) -> None:
        """Hand on a row of the present iteration."""
        self._send({"iteration": self.solver.iter, "time": round(time.time(), 1), **row})

    def _record(self) -> None:
        """Take the outputs of the iteration at whose update the solver is."""
        solver = self.solver
        self._sums += [solver.loss, *(float(solver.net.blobs[n].tensor) for n in self.names)]
        self._count += 1
        if self._working and (solver.iter + 1) % self.every == 0:
            self._send(self._losses(solver.iter + 1, *self._sums / self._count))
        if (solver.iter + 1) % self.every == 0:
            self._sums, self._count = np.zeros_like(self._sums), 0

    def _losses(self, iteration: int, loss: float, *outputs: float) -> Row:
        now = time.monotonic()
        done, since = self._marks[-1]
        spent = max(now - since - self._paused, 0) / max(iteration - done, 1)
        self._paused = 0.0
        first, start = self._marks[0]
        left = max(self.end - iteration, 0) * (now - start) / max(iteration - first, 1)
        self._marks.append((iteration, now))
        epoch = {} if self.iterations_of_an_epoch is None else \
            {"epoch": round(iteration / self.iterations_of_an_epoch, 4)}
        return {"iteration": iteration, "time": round(time.time(), 1), **epoch,
                "loss": _plain(loss), "lr": _plain(self.solver.lr),
                "seconds": round(self.seconds, 2), "seconds_per_iteration": _plain(spent),
                "eta": round(left, 1), "losses": dict(zip(self.names, map(_plain, outputs)))}

    def _send(self, row: Row) -> None:
        self._each("write", row)

    def _each(self, verb: str, *arguments: object) -> None:
        for sink in [*self._working]:
            try:
                getattr(sink, verb)(*arguments)
            except Exception as error:
                log.warning("%s: no metrics go there from iteration %d on: %s: %s", sink,
                            self.solver.iter, type(error).__name__, error)
                self._working.remove(sink)
                with suppress(Exception):
                    sink.end()

    # --- in the solver state ----------------------------------------------------------------

    def snapshot_state(self) -> bytes:
        """The sums since the last row."""
        return json.dumps({"names": self.names, "sums": self._sums.tolist(),
                           "count": self._count}).encode()

    def restore_state(self, state: bytes) -> None:
        """Go on with those sums, if they are of the same outputs."""
        try:
            kept = json.loads(state)
            if kept["names"] == self.names:
                self._sums, self._count = np.array(kept["sums"], float), int(kept["count"])
        except (ValueError, KeyError, TypeError) as error:
            log.warning("The sums of losses since the last row are lost: %s", error)


def _plain(value: float) -> float | None:
    """Six digits; None for what JSON has no word for."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


# --- sinks ---------------------------------------------------------------------------------------

class JsonLines:
    """A file with a row of JSON a line, written at once."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.seconds = 0.0          # of training, in the rows of an earlier run that stayed

    def __str__(self) -> str:
        return str(self.path)

    def begin(self, iteration: int) -> None:
        """Without rows of iterations that come again, or were cut."""
        kept = [row for row in read_rows(self.path) if row["iteration"] <= iteration] \
            if iteration and self.path.is_file() else []
        self.seconds = max((float(row.get("seconds", 0)) for row in kept), default=0.0)
        with atomic_path(self.path) as temporary:
            Path(temporary).write_text("".join(map(_line, kept)))
        self._file = self.path.open("a")

    def write(self, row: Row) -> None:
        self._file.write(_line(row))
        self._file.flush()

    def end(self) -> None:
        self._file.close()


def _line(row: Row) -> str:
    return json.dumps(row, allow_nan=False) + "\n"


def read_rows(path: str | os.PathLike[str]) -> list[Row]:
    """The rows of a file that JsonLines wrote, but for lines that are no rows: cut ones."""
    rows = []
    with open(path, errors="replace") as file:
        for line in file:
            try:
                row = json.loads(line) if line.endswith("\n") else None
            except ValueError:
                continue
            if isinstance(row, dict) and isinstance(row.get("iteration"), int):
                rows.append(row)
    return rows


class TensorBoard:
    """Event files in a folder, through torch.utils.tensorboard."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        need("tensorboard", package="tensorboard", feature="--tensorboard")
        self.folder = Path(folder)

    def __str__(self) -> str:
        return str(self.folder)

    def begin(self, iteration: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(self.folder),
                                          purge_step=iteration + 1 if iteration else None)

    def write(self, row: Row) -> None:
        for name, value in scalars(row).items():
            self._writer.add_scalar(name, value, row["iteration"])

    def end(self) -> None:
        self._writer.close()


def scalars(row: Row) -> dict[str, float]:
    """The finite figures of a row, each under one name: losses/NAME, validation/NAME, lr …"""
    found: dict[str, float] = {}
    for kind in ("losses", "validation", "test"):
        values = row.get(kind)
        if isinstance(values, dict):
            group = f"test{row.get('net') or ''}" if kind == "test" else kind
            found |= {f"{group}/{name}": value for name, value in values.items()
                      if isinstance(value, (int, float))}
    return found | {name: row[name] for name in ("loss", "lr", "seconds_per_iteration", "epoch")
                    if isinstance(row.get(name), (int, float))}
