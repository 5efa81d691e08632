"""The losses of a training run, and the figures of its validations, as a picture.

    python -m mnc.drawing.losses metrics.csv OUT.png
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np


def read_losses(path: str | Path) -> dict[str, np.ndarray]:
    """Columns of a metrics.csv by name, `iteration` among them; each (rows,)."""
    names, rows = read_rows(path)
    values = np.array([[float(v or "nan") for v in row] for row in rows]).reshape(-1, len(names))
    return dict(zip(names, values.T))


def read_rows(path: str | Path) -> tuple[list[str], list[list[str]]]:
    """(names, rows) of a metrics.csv without rows that were cut while they were written."""
    with open(path, newline="", errors="replace") as file:
        lines = [line for line in file if line.endswith("\n")]
    names, *rows = [*csv.reader(lines)] or [["iteration"]]
    return names, [row for row in rows if len(row) == len(names) and row[0]
                   and all(map(_is_number, row))]


def _is_number(text: str) -> bool:
    """Also of an output that an earlier run did not have: nothing."""
    try:
        return not text or float(text) is not None
    except ValueError:
        return False


def draw_losses(path: str | Path, out: str | Path) -> Path:
    """One panel a loss: the passes through stages 2, 3 and through 4, 5 (`_ext`) together.

    A last one for the AP of validations, where there are any.
    """
    from matplotlib.figure import Figure

    columns = read_losses(path)
    names = [n for n in columns if "loss" in n and not n.endswith("_ext")]
    panels = {name: {"stages 2, 3": name, "stages 4, 5": f"{name}_ext"} for name in names}
    measured = [n for n in columns if "AP" in n and np.isfinite(columns[n]).any()]
    if measured:
        panels["validation"] = {name: name for name in measured}
    across = 3
    down = max(-(-len(panels) // across), 1)
    figure = Figure(figsize=(3.6 * across, 2.4 * down), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for panel in axes[len(panels):]:
        panel.set_axis_off()
    for panel, (title, lines) in zip(axes, panels.items()):
        _plot(panel, title, {label: columns[name] for label, name in lines.items()
                             if name in columns}, columns["iteration"])
    figure.savefig(out, dpi=110)
    return Path(out)


def _plot(panel: Any, title: str, lines: dict[str, np.ndarray], iterations: np.ndarray) -> None:
    """lines: by label, (rows,) each, nan in rows of another kind. iterations (rows,)."""
    for label, values in lines.items():
        known = np.isfinite(values)
        panel.plot(iterations[known], values[known], label=label, linewidth=1)
    panel.set_title(title, fontsize=9)
    panel.set_xlabel("iteration", fontsize=8)
    panel.tick_params(labelsize=7)
    panel.set_ylim(bottom=0)
    if len(lines) > 1:
        panel.legend(fontsize=6)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print(draw_losses(*sys.argv[1:]))
