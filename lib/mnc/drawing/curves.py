"""Curves as pictures; here, and not with mnc.commands that asks for them, because matplotlib and
pictures are this room's.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mnc.drawing.names import any_letters, as_they_are

ACROSS = 4


@dataclass(frozen=True)
class Line:
    """A curve of n points and what the legend says of it."""

    recall: np.ndarray          # (n,)
    precision: np.ndarray       # (n,)
    label: str


def draw_curves(path: str | Path, panels: Mapping[str, Sequence[Line]]) -> Path:
    """A panel for each class that has curves, by its name, with the curves in it."""
    from matplotlib.figure import Figure  # draws by itself: no window, no global state

    known = {name: lines for name, lines in panels.items() if lines}
    down = max(-(-len(known) // ACROSS), 1)
    figure = Figure(figsize=(2.9 * ACROSS, 2.5 * down), layout="constrained")
    axes = figure.subplots(down, ACROSS, squeeze=False).ravel()
    for panel in axes[len(known):]:
        panel.set_axis_off()
    for panel, (name, lines) in zip(axes, known.items()):
        for line in lines:
            panel.plot(line.recall, line.precision, linewidth=1, label=line.label)
        panel.set_title(name, **as_they_are())
        panel.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
        panel.legend(title="IoU: AP", fontsize=7, title_fontsize=7)
    with any_letters():
        figure.savefig(path, dpi=110)
    return Path(path)


def svg(figure: Any) -> str:
    """A matplotlib figure as a piece of HTML."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    return text[text.index("<svg"):]


def svg_panels(panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]]) -> str:
    """Panels side by side as a piece of HTML: {"y by x": {name of a line: (xs, ys)}}, 0 to 1."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(panels), 3.4), layout="constrained")
    for axes, (title, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0],
                                    panels.items()):
        for name, (xs, ys) in lines.items():
            axes.plot(xs, ys, label=name)
        y, _, x = title.partition(" by ")
        axes.set(xlabel=x, ylabel=y, ylim=(0, 1.02))
        axes.legend(fontsize=8)
    return svg(figure)
