"""Precision-recall curves as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mnc.evaluation.average_precision import ClassCurves, average_precision

ACROSS = 4


def draw_curves(path: str | Path, curves: ClassCurves, thresholds: Sequence[float],
                shown: Sequence[float] | None = None, *, eleven_point: bool = True) -> Path:
    """A panel a class, a curve for each threshold shown (all by default), AP in the legend."""
    from matplotlib.figure import Figure  # draws by itself: no window, no global state

    known = {name: found for name, found in curves.items() if found}
    picked = [(k, t) for k, t in enumerate(thresholds) if shown is None or t in shown]
    down = max(-(-len(known) // ACROSS), 1)
    figure = Figure(figsize=(2.9 * ACROSS, 2.5 * down), layout="constrained")
    panels = figure.subplots(down, ACROSS, squeeze=False).ravel()
    for panel in panels[len(known):]:
        panel.set_axis_off()
    for panel, (name, found) in zip(panels, known.items()):
        for k, threshold in picked:
            curve = found[k]
            ap = average_precision(curve.recall, curve.precision, eleven_point=eleven_point)
            panel.plot(curve.recall, curve.precision, linewidth=1,
                       label=f"{threshold:g}: {100 * ap:.1f}")
        panel.set(title=name, xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
        panel.legend(title="IoU: AP", fontsize=7, title_fontsize=7)
    figure.savefig(path, dpi=110)
    return Path(path)
