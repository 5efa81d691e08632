"""The page of `mnc compare`: the table, and curves of the systems whose results are there."""

from __future__ import annotations

import argparse
import html
import shlex
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnc.commands.report_page import meanings
from mnc.config import cfg
from mnc.data.dataset import Dataset
from mnc.drawing.curves import svg_panels
from mnc.drawing.report import Page
from mnc.evaluation import analysis
from mnc.evaluation.average_precision import figures
from mnc.evaluation.figures import VOLUME, curves_of, has_masks
from mnc.evaluation.matching import match
from mnc.results import saved as saved_results

if TYPE_CHECKING:
    from mnc.commands.compare import Row


def write_page(path: Path, args: argparse.Namespace, dataset: Dataset,
               table: tuple[Sequence[Row], Sequence[str]]) -> None:
    """A page of (rows, columns), and of each [NAME=]FILE of args.results that holds detections."""
    from mnc.commands.compare import named, read_metrics

    page = Page(path, f"Systems on {args.imdb}")
    page.note(f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}, by "
              f"{shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])}")
    page.add(_table(*table) + meanings())
    systems = {name: file for name, file in map(named, args.results) if read_metrics(file) is None}
    seen = {name: _of(file, dataset) for name, file in systems.items()}
    if not seen:
        page.note("Curves need results (detections_*.npz, COCO's .json), not figures alone.")
        return
    panels = {title: {name: each[title] for name, each in seen.items() if each[title]}
              for title in ("AP of masks by overlap", "precision by recall")}
    page.add("<h2>Where they differ</h2>")
    page.add(svg_panels({title: lines for title, lines in panels.items() if lines}))
    page.note("AP in these curves and below is the area under precision and recall, not a mean of "
              "its values at some recalls as in the table. Precision and recall are of all classes "
              "together, at scores from .05 to .95 and an overlap of 0.5.")
    page.add("<h2>AP lost by kinds of error</h2>")
    page.note("AP that would be won if the errors of this kind alone were mended (mnc analyse says "
              "more).")
    page.add(_errors({name: each["errors"] for name, each in seen.items()}))


def _of(file: Path, dataset: Dataset) -> dict[str, Any]:
    saved = saved_results.load(file, dataset)
    masks = saved.task.masks and has_masks(dataset)
    matched = match(dataset, saved.detections, cfg.BINARIZE_THRESH, masks=masks)
    rows = [row for row in analysis.thresholds(matched) if row["results"]]
    curves = curves_of(dataset, saved.detections, saved.task, cfg.BINARIZE_THRESH, progress=False)
    means = figures(curves["r"], VOLUME, "r", eleven_point=False) if "r" in curves else {}
    return {"AP of masks by overlap": (VOLUME, [means[f"mAP^r@{t:g}"] for t in VOLUME])
            if means else None,
            "precision by recall": ([row["recall"] for row in rows],
                                    [row["precision"] for row in rows]),
            "errors": {row["kind"]: row["AP lost"]
                       for row in analysis.errors(matched, len(dataset.classes))}}


def _table(rows: Sequence[Row], columns: Sequence[str]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ("system", "data", *columns))
    lines = []
    for row in rows:
        cells = [row.name, row.data if row.measured else f"{row.data} (published)",
                 *(_number(row.figures.get(name)) for name in columns)]
        lines.append("".join(f"<td>{html.escape(cell)}</td>" for cell in cells))
    return f"<table><tr>{head}</tr>\n" + "".join(f"<tr>{x}</tr>\n" for x in lines) + "</table>"


def _number(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.1f}"


def _errors(systems: dict[str, dict[str, float]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ("system", *analysis.KINDS))
    lines = ["".join([f"<td>{html.escape(name)}</td>",
                      *(f"<td>{100 * lost[kind]:.1f}</td>" for kind in analysis.KINDS)])
             for name, lost in systems.items()]
    return f"<table><tr>{head}</tr>\n" + "".join(f"<tr>{x}</tr>\n" for x in lines) + "</table>"
