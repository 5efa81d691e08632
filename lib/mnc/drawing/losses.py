"""The losses of a training run as a picture.

    python -m mnc.drawing.losses PREFIX_losses.csv OUT.png
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np


def read_losses(path: str | Path) -> dict[str, np.ndarray]:
    """Columns of a PREFIX_losses.csv by name, `iteration` among them; each (rows,)."""
    names, rows = read_rows(path)
    values = np.array([[float(v or "nan") for v in row] for row in rows]).reshape(-1, len(names))
    return dict(zip(names, values.T))


def read_rows(path: str | Path) -> tuple[list[str], list[list[str]]]:
    """(names, rows) of a PREFIX_losses.csv without rows that were cut while they were written."""
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
    """One panel a loss: the passes through stages 2, 3 and through 4, 5 (`_ext`) together."""
    from matplotlib.figure import Figure

    columns = read_losses(path)
    names = [n for n in columns if "loss" in n and not n.endswith("_ext")]
    across = 3
    down = max(-(-len(names) // across), 1)
    figure = Figure(figsize=(3.6 * across, 2.4 * down), layout="constrained")
    for panel, name in zip(figure.subplots(down, across, squeeze=False).flat, names):
        for column, label in ((name, "stages 2, 3"), (f"{name}_ext", "stages 4, 5")):
            if column in columns:
                panel.plot(columns["iteration"], columns[column], label=label, linewidth=1)
        panel.set_title(name, fontsize=9)
        panel.set_xlabel("iteration", fontsize=8)
        panel.tick_params(labelsize=7)
        panel.set_ylim(bottom=0)
        if f"{name}_ext" in columns:
            panel.legend(fontsize=7)
    figure.savefig(out, dpi=110)
    return Path(out)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print(draw_losses(*sys.argv[1:]))
