"""parse_log: a training log as two tables, LOG.train and LOG.test."""

from __future__ import annotations

import argparse
import csv
import datetime
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from caffe.commands.registration import UsageError, entry
from caffe.engine.formats.text import read_text

ITERATION = re.compile(r"Iteration (\d+)")
NUMBER = r"([-+]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|nan|inf))"
LEARNING_RATE = re.compile(rf"lr = {NUMBER}")
LOSS = re.compile(rf"Iteration \d+.*, loss = {NUMBER}")
OUTPUTS = {kind: re.compile(rf"{kind} net output #\d+: (.*?\S) = {NUMBER}")
           for kind in ("Train", "Test")}
COLOUR = re.compile(r"\x1b\[[\d;]*m")
# I0722 or, of glog 0.6, I20220722; the rank of a process may stand before it
TIME = re.compile(r"(?<![^\W_])[IWEF](\d{4})?(\d\d)(\d\d) (\d\d):(\d\d):(\d\d)\.(\d{6})")

Row = dict[str, float]


@dataclass(frozen=True)
class Line:
    """A line of the log after the first iteration began."""

    text: str
    iteration: float
    seconds: float          # since the training began


@entry("parse_log")
def main(argv: Sequence[str]) -> int:
    """make CSV tables of a training log"""
    args = parser().parse_args(argv)
    train, test = parse_log(args.logfile_path)
    save_csv_files(args.logfile_path, args.output_dir, train, test, args.delimiter, args.verbose)
    return 0


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="parse_log", description="Write the outputs of a training log "
                                "as OUTPUT_DIR/LOG.train and OUTPUT_DIR/LOG.test.")
    p.add_argument("logfile_path", help="log of a training")
    p.add_argument("output_dir", help="folder for the tables")
    p.add_argument("--verbose", action="store_true", help="print what was written")
    p.add_argument("--delimiter", default=",", help="between columns (default %(default)s)")
    return p


def parse_log(path_to_log: str | os.PathLike[str]) -> tuple[list[Row], list[Row]]:
    """The rows of the training net and of the test nets.

    A row has NumIters, Seconds, LearningRate and an entry for each output. LearningRate is the
    last one logged: that of the display before, for Caffe logs the outputs first.
    """
    rate = float("nan")
    tables: dict[str, list[Row]] = {"Train": [], "Test": []}
    for line in lines(path_to_log):
        if found := LEARNING_RATE.search(line.text):
            rate = float(found[1])
        for kind, rows in tables.items():
            if found := OUTPUTS[kind].search(line.text):
                name, value = found.groups()
                if not rows or rows[-1]["NumIters"] != line.iteration or name in rows[-1]:
                    rows.append({"NumIters": line.iteration, "Seconds": line.seconds,
                                 "LearningRate": rate})
                rows[-1][name] = float(value)
    for rows in tables.values():
        if len(rows) > 1:               # the first is logged before any learning rate
            rows[0]["LearningRate"] = rows[1]["LearningRate"]
    return tables["Train"], tables["Test"]


def lines(path: str | os.PathLike[str]) -> Iterator[Line]:
    """The lines with a time, from the first iteration on.

    Seconds count from the line "Solving ...", which solver.solve() writes; from the first line with
    an iteration in the logs of loops around solver.step(), as those of MNC and py-faster-rcnn are.
    """
    texts = COLOUR.sub("", read_text(path)).split("\n")
    found = [(stamp, text) for text in texts if (stamp := TIME.search(text))]
    start = next((i for i, (_, text) in enumerate(found) if "Solving" in text), None)
    first = next((i for i, (_, text) in enumerate(found) if ITERATION.search(text)), None)
    if start is None and first is None:
        raise UsageError(f'{os.fspath(path)}: no line with a time and "Solving" or "Iteration": is '
                         "it the log of a training?")
    begin = first if start is None else start
    moments = _moments([stamp for stamp, _ in found[begin:]], path)
    iteration = None
    for moment, (_, text) in zip(moments, found[begin:], strict=True):
        if match := ITERATION.search(text):
            iteration = float(match[1])
        if iteration is not None:
            yield Line(text, iteration, (moment - moments[0]).total_seconds())


def _moments(stamps: list[re.Match], path: str | os.PathLike[str]) -> list[datetime.datetime]:
    """The times of glog's stamps. glog 0.6 writes the year; before, it is that of the file, or the
    last before it that has all the days (29 February).
    """
    last = datetime.datetime.fromtimestamp(os.path.getctime(path)).year
    for year in range(last, last - 9, -1):
        try:
            return list(_dated(stamps, year))
        except ValueError:
            continue
    raise UsageError(f"{os.fspath(path)}: times on days that no year has")


def _dated(stamps: list[re.Match], year: int) -> Iterator[datetime.datetime]:
    last_month = 0
    for stamp in stamps:
        written, month, *rest = (int(part or 0) for part in stamp.groups())
        year += month < last_month              # the log goes on after New Year's Eve
        last_month = month
        yield datetime.datetime(written or year, month, *rest)    # type: ignore[arg-type]


def save_csv_files(logfile_path: str | os.PathLike[str], output_dir: str | os.PathLike[str],
                   train: list[Row], test: list[Row], delimiter: str = ",",
                   verbose: bool = False) -> None:
    """Write both tables beside each other, named after the log."""
    for kind, rows in (("train", train), ("test", test)):
        path = Path(output_dir) / f"{Path(logfile_path).name}.{kind}"
        write_csv(path, rows, delimiter)
        if verbose:
            print(f"Wrote {path}")


def write_csv(path: Path, rows: list[Row], delimiter: str) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with open(path, "w", newline="") as file:
        if rows:
            table = csv.DictWriter(file, columns, delimiter=delimiter, lineterminator="\n")
            table.writeheader()
            table.writerows(rows)
