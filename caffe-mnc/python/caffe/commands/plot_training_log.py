"""plot_training_log: curves of one or more training logs as a picture."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from caffe.commands import parse_log
from caffe.commands.registration import UsageError, entry

CHARTS = tuple((value, axis) for value in
               ("Test accuracy", "Test loss", "Train learning rate", "Train loss")
               for axis in ("Iters", "Seconds"))

Curve = list[tuple[float, float]]


@entry("plot_training_log")
def main(argv: Sequence[str]) -> int:
    """draw curves of training logs"""
    args = parser().parse_args(argv)
    value, axis = CHARTS[args.chart_type]
    curves = {Path(log).name.removesuffix(".log"): curve(log, value, axis) for log in args.logs}
    draw(args.picture, value, axis, curves)
    return 0


def parser() -> argparse.ArgumentParser:
    charts = "\n".join(f"  {i}: {value} vs. {axis}" for i, (value, axis) in enumerate(CHARTS))
    p = argparse.ArgumentParser(
        prog="plot_training_log", description="Draw a curve of each log into one picture.",
        epilog=f"chart types:\n{charts}", formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("chart_type", type=int, choices=range(len(CHARTS)), help="see below")
    p.add_argument("picture", help="file to write, such as loss.png")
    p.add_argument("logs", nargs="+", metavar="log", help="logs of trainings")
    return p


def curve(path: str, value: str, axis: str) -> Curve:
    """(x, y) of each point that the log has for a chart."""
    if value.startswith("Train"):
        pattern = parse_log.LOSS if value == "Train loss" else parse_log.LEARNING_RATE
        found = ((line, pattern.search(line.text)) for line in parse_log.lines(path))
        return [(line.iteration if axis == "Iters" else line.seconds, float(match[1]))
                for line, match in found if match]
    rows = parse_log.parse_log(path)[1]
    name = output_name(rows, "acc" if value == "Test accuracy" else "loss", path)
    return [(row["NumIters" if axis == "Iters" else axis], row[name])
            for row in rows if name in row]


def output_name(rows: list[parse_log.Row], part: str, path: str) -> str:
    """The first output of the test net whose name has `part` in it."""
    names = list(dict.fromkeys(name for row in rows for name in row))[3:]
    for name in names:
        if part in name.lower():
            return name
    raise UsageError(f'{path}: no output of a test net has "{part}" in its name; the log has '
                     f"{', '.join(names) or 'none at all'}")


def draw(picture: str, value: str, axis: str, curves: dict[str, Curve]) -> None:
    from matplotlib.figure import Figure  # slow to import

    figure = Figure()
    axes = figure.subplots()
    for name, points in curves.items():
        axes.plot(*zip(*points), label=name, marker=".", linewidth=0.75) if points else None
    axes.set(title=f"{value} vs. {axis}", xlabel=axis, ylabel=value)
    if any(curves.values()):
        axes.legend(loc="lower right" if "accuracy" in value else "upper right")
    known = figure.canvas.get_supported_filetypes()
    if Path(picture).suffix.lstrip(".").lower() not in known:
        raise UsageError(f"{picture}: pictures end in .{', .'.join(sorted(known))}")
    figure.savefig(picture)
