"""What the errors of a test cost, as a page with pictures of the figures.

Here, and not with mnc.commands.analyse that asks for it, because pictures are this room's.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mnc.drawing.curves import svg
from mnc.drawing.report import Page

Rows = Sequence[Mapping[str, Any]]


def write_analysis(page: Page, found: Mapping[str, Any], classes: Sequence[str]) -> None:
    """Sections of errors, confusion, scores, sizes and numbers, of the figures in analysis.json."""
    page.note(f"{found['images']} images, {found['instances']} instances, {found['results']} "
              f"results. AP at IoU {found['overlap']:g}, the area under precision and recall, mean "
              f"of the classes: {100 * found['AP']:.1f}. (In the tables of mnc test mAP^r "
              "and mAP^b are means of precision at 11 recalls, COCO's at 101: a little different.)")
    _errors(page, found["errors"])
    _scores(page, found)
    page.add("<h2>Which class is taken for which</h2>")
    page.note(f"Results of a score of {found['threshold']:g} and more. Rows: what there is; "
              "columns: what was said. Shares of the row's instances.")
    page.add(_confusion(np.array(found["confusion"]), ["background", *classes[1:]]))
    page.add("<h2>Small and large, few and many</h2>")
    page.note("AP by the size of the instances (in pixels; as many instances in each row), and by "
              "how many an image has.")
    page.add(_table(_in_percent(found["sizes"], "AP"), whole=("from", "to")))
    page.add(_table(_in_percent(found["numbers"], "AP")))


def _errors(page: Page, rows: Rows) -> None:
    page.add("<h2>What the errors cost</h2>")
    page.note("AP that would be won if the errors of this kind alone were mended. The gains of "
              "kinds do not add up.")
    page.add(_table(_in_percent(rows, "AP lost")))
    page.add(_bars([row["kind"] for row in rows], [100 * row["AP lost"] for row in rows],
                   "AP lost"))


def _scores(page: Page, found: Mapping[str, Any]) -> None:
    page.add("<h2>Scores</h2>")
    page.note(f"The best F1, {max(row['F1'] for row in found['thresholds']):.3f}, is reached with "
              f"results of a score of {found['threshold']:g} and more (--score of mnc demo). Where "
              "the right curve runs below the diagonal, scores promise too much; on average they "
              f"are {100 * found['calibration_error']:.1f} points off.")
    page.add(_lines(found["thresholds"], found["calibration"]))
    page.add(_table(found["thresholds"]))


def _in_percent(rows: Rows, column: str) -> Rows:
    return [{**row, column: f"{100 * row[column]:.1f}".replace("nan", "-")} for row in rows]


def _table(rows: Rows, whole: Sequence[str] = ()) -> str:
    """whole: columns of large numbers, without decimals."""
    if not rows:
        return "<p>none</p>"
    lines = ["".join(f"<th>{html.escape(name)}</th>" for name in rows[0])]
    lines += ["".join(f"<td>{_text(value, name in whole)}</td>" for name, value in row.items())
              for row in rows]
    return "<table>" + "".join(f"<tr>{line}</tr>\n" for line in lines) + "</table>"


def _text(value: object, whole: bool) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.0f}" if whole else f"{value:.3f}"
    return html.escape(str(value))


def _confusion(table: np.ndarray, names: Sequence[str]) -> str:
    """A table whose cells are the darker, the larger their share of the row."""
    lines = ["<th></th>" + "".join(f"<th>{html.escape(name)}</th>" for name in names)]
    for n, name in enumerate(names):
        total = max(int(table[n].sum()), 1)
        cells = []
        for k, count in enumerate(table[n]):
            share, color = count / total, "60,140,60" if k == n else "190,70,50"
            title = html.escape(f"{name}, said to be {names[k]}: {count}")
            text = f"{100 * share:.0f} %" if count else ""
            cells.append(f'<td title="{title}" style="background: rgba({color},{share:.2f})">'
                         f"{text}</td>")
        lines.append(f"<th>{html.escape(name)} ({table[n].sum()})</th>" + "".join(cells))
    return "<table>" + "".join(f"<tr>{line}</tr>\n" for line in lines) + "</table>"


def _bars(names: Sequence[str], values: Sequence[float], label: str) -> str:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 0.4 * len(names) + 0.8), layout="constrained")
    axes = figure.subplots()
    axes.barh(names, values, color="#be4632")
    axes.invert_yaxis()
    axes.set_xlabel(label)
    return svg(figure)


def _lines(thresholds: Rows, calibration: Rows) -> str:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name in ("precision", "recall", "F1"):
        left.plot([row["score"] for row in thresholds], [row[name] for row in thresholds],
                  label=name)
    left.set(xlabel="score from", ylim=(0, 1.02))
    left.legend()
    known = [row for row in calibration if row["results"]]
    right.plot([0, 1], [0, 1], color="#bbb", linewidth=1)
    right.plot([row["mean score"] for row in known], [row["right"] for row in known], "o-")
    right.set(xlabel="score", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1.02))
    return svg(figure)
