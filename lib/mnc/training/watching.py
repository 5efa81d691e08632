"""What is seen of a training: its rows of figures as a table, and one line on a terminal."""

from __future__ import annotations

import csv
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from caffe.extend import Row, Solver, atomic_path, beneath
from mnc.drawing.losses import read_rows

log = logging.getLogger("mnc")

COLUMNS = ("iteration", "epoch", "lr", "seconds", "seconds_per_iteration", "eta", "loss")
BAR = "{n_fmt}/{total_fmt} |{bar}| {desc}{rate_fmt}, ETA {remaining}{postfix}"


@contextmanager
def beside_the_work(what: str) -> Iterator[None]:
    """An error in here is a warning: what the file is beside is worth more."""
    try:
        yield
    except Exception as error:
        log.warning("%s: %s: %s", what, type(error).__name__, error)


class Table:
    """A CSV of the rows of caffe.extend.Metrics: COLUMNS, the losses by name, and the figures.

    Rows of an earlier run stay up to the iteration that is gone on from, and so do their columns.
    """

    def __init__(self, path: Path, losses: Sequence[str], figures: Sequence[str] = ()) -> None:
        self.path, self.names = path, [*COLUMNS, *losses, *figures]
        self._file: TextIO | None = None

    def __str__(self) -> str:
        return str(self.path)

    def begin(self, iteration: int) -> None:
        """Open the file at its end, without rows of iterations that come again or were cut."""
        names, rows = read_rows(self.path) if iteration and self.path.is_file() else ([], [])
        self.names += [name for name in names if name not in self.names]
        kept = [dict(zip(names, row)) for row in rows if int(float(row[0])) <= iteration]
        with atomic_path(self.path) as temporary, open(temporary, "w", newline="") as file:
            csv.writer(file).writerows([self.names, *([row.get(name, "") for name in self.names]
                                                      for row in kept)])
        self._file = self.path.open("a", newline="")

    def write(self, row: Row) -> None:
        """Take a row of losses or of a validation; others have no place here."""
        if self._file is None or not row.keys() & {"losses", "validation"}:
            return
        values = {**row, **row.get("losses", {}), **row.get("validation", {})}
        csv.writer(self._file).writerow([_written(values.get(name)) for name in self.names])
        self._file.flush()

    def end(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _written(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else "" if value is None else str(value)


class Line:
    """One line on a terminal that says how far a training is: a sink of its rows."""

    def __init__(self, solver: Solver, end: int, main: str = "") -> None:
        self.solver, self.main = solver, main       # figure of a validation that is shown
        self.bar = tqdm(total=end, initial=solver.iter, unit="it", bar_format=BAR,
                        dynamic_ncols=True)

    def __str__(self) -> str:
        return "the line on the terminal"

    def begin(self, iteration: int) -> None:
        """It is there already."""

    def move(self) -> None:
        """To the solver's iteration."""
        self.bar.update(self.solver.iter - self.bar.n)

    def write(self, row: Row) -> None:
        """Show the losses of a row, or the main figure of a validation."""
        if row.get("loss") is not None:
            epoch = f"epoch {row['epoch']:.1f}, " if "epoch" in row else ""
            self.bar.set_description_str(f"{epoch}loss {row['loss']:.4g}, lr {row['lr']:.2g}, ",
                                         refresh=False)
        if row.get("validation", {}).get(self.main) is not None:
            self.bar.set_postfix_str(f"AP {100 * row['validation'][self.main]:.1f}", refresh=False)
        self.bar.refresh()

    def validating(self, done: int, images: int) -> None:
        """Show how far a validation is."""
        self.bar.set_description_str(f"validation {done}/{images}, " if done < images else "")

    def end(self) -> None:
        """Leave the line as it is."""
        self.bar.close()


@contextmanager
def line_on_terminal(solver: Solver, end: int, main: str = "") -> Iterator[Line | None]:
    """The line, in place of the log's, which then shows warnings alone; None where stderr is no
    terminal: a log file gets nothing but lines.
    """
    if not sys.stderr.isatty():
        yield None
        return
    line = Line(solver, end, main)
    solver.after_update.append(line.move)
    try:
        with beneath(line.bar.clear):
            yield line
    finally:
        solver.after_update.remove(line.move)
        line.bar.close()


def say(text: str) -> None:
    """A line on stdout, also where a bar stands on the terminal."""
    tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()
