"""A table of several systems: saved results measured alike, beside what was published."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mnc.config import ConfigError, cfg
from mnc.tasks import METRICS

if TYPE_CHECKING:
    from mnc.data import Dataset
    from mnc.evaluation.published import Published

DEFAULT = {"voc": ("mAP^r@0.5", "mAP^r@0.7", "mAP^r_vol", "mAP^b@0.5"),
           "coco": ("COCO mAP^r@[.5:.95]", "COCO mAP^r@.5", "COCO mAP^r@.75",
                    "COCO mAP^b@[.5:.95]", "COCO mAP^b@.5")}


@dataclass(frozen=True)
class Row:
    """A system: its figures in percent by name, the data they are of, seconds an image if known."""

    name: str
    data: str
    figures: Mapping[str, float]
    seconds: str = ""
    measured: bool = True       # here, not published


def run(args: argparse.Namespace) -> int:
    """Print a table of several results on one data set, with published figures.

    Raises DataError if one is not there, ConfigError if --out is one of them.
    """
    from mnc.data import get_dataset
    from mnc.evaluation.published import published
    from mnc.results.saved import existing

    for entry in args.results:
        existing(named(entry)[1])
    if args.out and Path(args.out).resolve() in [named(e)[1].resolve() for e in args.results]:
        raise ConfigError(f"--out {args.out}: this is one of the results to compare, and would be "
                          "written over; name another file")
    dataset = get_dataset(args.imdb)
    rows = [measure(entry, dataset, args.imdb, args.metrics) for entry in args.results]
    rows += [from_published(each) for each in published(args.imdb, args.published)]
    columns = [name for metric in args.metrics for name in DEFAULT[metric]]
    columns += [name for row in rows for name in row.figures if not row.measured]
    columns = [name for name in dict.fromkeys(columns)
               if any(name in row.figures for row in rows)]
    print(text_table(rows, columns))
    if args.out:
        save(Path(args.out), rows, columns)
    if args.page:
        from mnc.commands.compare_page import write_page

        write_page(Path(args.page), args, dataset, (rows, columns))
    return 0


def measure(entry: str, dataset: Dataset, imdb: str, metrics: Sequence[str]) -> Row:
    """The row of [NAME=]FILE: detections_*.npz, metrics_*.json or a COCO result .json.

    Raises DataError for results that are not of the data set.
    """
    from mnc.data import DataError
    from mnc.evaluation.figures import figures_of
    from mnc.results import saved as saved_results

    name, path = named(entry)
    known = read_metrics(path)
    if known is None:
        saved = saved_results.load(path, dataset)
        known = figures_of(saved, dataset, cfg.BINARIZE_THRESH, metrics)
    elif known.get("imdb") != imdb:
        raise DataError(f"{path}: these figures are of {known.get('imdb')}, not of {imdb}")
    figures = {key: 100 * value for key, value in known.items()
               if "mAP" in key and isinstance(value, float)}
    return Row(name, imdb, figures)


def named(entry: str) -> tuple[str, Path]:
    """NAME=FILE; a FILE alone, which may hold a '=', is named after its folder and itself."""
    parts = entry.split("=")
    pairs = [("=".join(parts[:k]), Path("=".join(parts[k:]))) for k in range(len(parts))]
    name, path = next((pair for pair in pairs if pair[1].exists()), pairs[-1])
    return name or "/".join((*path.parts[-2:-1], path.stem)), path


def read_metrics(path: Path) -> dict | None:
    """The content of a metrics_*.json of ours; None for any other file.

    Raises DataError for what is no JSON.
    """
    from caffe.extend import parse_json
    from mnc.data import DataError

    if path.suffix != ".json" or not path.is_file():
        return None
    try:
        content = parse_json(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path}: not JSON: {error}") from error
    return content if isinstance(content, dict) and "imdb" in content else None


def from_published(row: Published) -> Row:
    return Row(row.method, row.data, row.figures, row.seconds, measured=False)


def text_table(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """A line a row; a column of data sets where they differ, one of seconds where any is known."""
    head = ["", *columns]
    cells = [[row.name, *(_percent(row.figures.get(c)) for c in columns)] for row in rows]
    if len({row.data for row in rows}) > 1:
        head.insert(1, "data")
        for line, row in zip(cells, rows):
            line.insert(1, row.data)
    if any(row.seconds for row in rows):
        head.append("s / image")
        for line, row in zip(cells, rows):
            line.append(row.seconds)
    first_published = next((n for n, row in enumerate(rows) if not row.measured), len(rows))
    lines = [head, *cells[:first_published]]
    if first_published < len(rows):
        lines += [["published:"] + [""] * (len(head) - 1), *cells[first_published:]]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(_aligned(text, width, head[k] in columns) for k, (text, width) in
                               enumerate(zip(line, widths))).rstrip() for line in lines)


def _aligned(text: str, width: int, number: bool) -> str:
    return text.rjust(width) if number else text.ljust(width)


def _percent(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.1f}"


def save(path: Path, rows: Sequence[Row], columns: Sequence[str]) -> None:
    """The same as JSON: a list of rows with their figures in percent."""
    from caffe.extend import atomic_path

    content = [{"name": row.name, "data": row.data, "published": not row.measured,
                **{name: row.figures.get(name) for name in columns}} for row in rows]
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("results", nargs="+", metavar="[NAME=]FILE",
                   help="detections_*.npz or metrics_*.json of mnc test; COCO result .json, or a "
                        "folder of VOC detection files, of any system")
    p.add_argument("--imdb", default="voc_2012_seg_val", help="data set (default %(default)s)")
    p.add_argument("--metrics", nargs="+", choices=METRICS, default=["voc"],
                   help="PASCAL's and SBD's figures, or COCO's (default: voc)")
    p.add_argument("--published", choices=("same", "all", "none"), default="same",
                   help="published rows on this data set (default), on every one, or none")
    p.add_argument("--out", metavar="FILE", help="write the table as JSON, too")
    p.add_argument("--page", metavar="FILE.html",
                   help="the table as a page, with curves: AP by overlap, precision by recall, "
                        "kinds of error")
