"""`mnc analyse`: which errors the results of a test have, what each costs, and a page of it."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnc.commands.evaluate import dataset_of, take_results_settings
from mnc.config import cfg

if TYPE_CHECKING:
    from mnc.data import Dataset
    from mnc.results.detections import Saved


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.set_defaults(own_settings=take_results_settings)
    p.add_argument("results", metavar="RESULTS",
                   help="detections_*.npz, a COCO result .json, or a folder of VOC detection files")
    p.add_argument("--imdb", help="data set (default: the one that a detections_*.npz is of)")
    p.add_argument("--out", metavar="DIR", help="for index.html, analysis.json and tables as .csv "
                                                "(default: RESULTS_analysis beside RESULTS)")


def run(args: argparse.Namespace) -> int:
    from mnc.drawing.analysis import write_analysis
    from mnc.drawing.report import Page
    from mnc.evaluation.figures import save_metrics
    from mnc.results import saved as saved_results

    saved_results.existing(args.results)
    dataset = dataset_of(args)
    saved = saved_results.load(args.results, dataset)
    out = Path(args.out or Path(args.results).parent / f"{Path(args.results).stem}_analysis")
    out.mkdir(parents=True, exist_ok=True)
    found = analysis_of(saved, dataset, cfg.BINARIZE_THRESH)
    save_metrics(out / "analysis.json", found, imdb=args.imdb, results=str(args.results),
                 classes=list(dataset.classes[1:]))
    for name in ("errors", "thresholds", "calibration", "sizes", "numbers"):
        write_rows(out / f"{name}.csv", found[name])
    names = ["background", *dataset.classes[1:]]
    write_rows(out / "confusion.csv", [{"is": name, **dict(zip(names, row))}
                                       for name, row in zip(names, found["confusion"])])
    write_analysis(Page(out / "index.html", f"Errors of {args.results} on {args.imdb}"), found,
                   dataset.classes)
    print(summary(found))
    print(f"{out / 'index.html'}", flush=True)
    return 0


def analysis_of(saved: Saved, dataset: Dataset, binarize: float) -> dict[str, Any]:
    """All figures: numbers, and lists of rows."""
    from mnc.evaluation import analysis
    from mnc.evaluation.average_precision import check_detections
    from mnc.evaluation.figures import has_masks
    from mnc.evaluation.matching import RIGHT_OVERLAP, match

    check_detections(dataset, saved.detections)
    found = match(dataset, saved.detections, binarize,
                  masks=saved.task.masks and has_masks(dataset))
    classes = len(dataset.classes)
    rows, scores = analysis.thresholds(found), analysis.calibration(found)
    best = analysis.best_threshold(rows)
    return {"images": len(dataset), "instances": int((~found.ignored).sum()),
            "results": len(found.label), "overlap": RIGHT_OVERLAP,
            "AP": analysis.ap(found, classes),
            "errors": analysis.errors(found, classes), "threshold": best, "thresholds": rows,
            "calibration": scores, "calibration_error": analysis.calibration_error(scores),
            "confusion": analysis.confusion(found, classes, best).tolist(),
            "sizes": analysis.by_size(found, classes),
            "numbers": analysis.by_number(found, classes)}


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A CSV with the names of the columns first."""
    with path.open("w", newline="", encoding="utf-8", errors="replace") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(rows[0] if rows else [])
        writer.writerows(row.values() for row in rows)


def summary(found: Mapping[str, Any]) -> str:
    """The costs of the errors, the most expensive first, and the best score to cut at."""
    lines = [f"AP@0.5 {100 * found['AP']:.1f}; AP lost by"]
    for row in sorted(found["errors"], key=lambda row: -row["AP lost"]):
        lines.append(f"  {row['kind']:<13}{100 * row['AP lost']:5.1f}  ({row['number']})")
    return "\n".join([*lines, f"best F1 with scores from {found['threshold']:g}"])
