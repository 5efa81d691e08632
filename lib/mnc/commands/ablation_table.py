"""The tables of `mnc ablation`, made from the files of its runs."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from caffe.extend import atomic_path
from mnc.config import ConfigError
from mnc.schemes import SCHEMES

MEASURES = ("mAP^r@0.5", "mAP^r@0.7")
PAIRS = (("a", "b"), ("b", "c"), ("c", "d"), ("d", "paper"))
BEGIN, END = "<!-- results: written by mnc ablation -->", "<!-- end of results -->"

Run = dict[str, Any]


def load_runs(folder: Path) -> list[Run]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*_seed*.json"))]


def report(runs: Sequence[Run]) -> str:
    """Markdown: for each net and number of iterations, a table of means and one of differences."""
    if not runs:
        return "no runs yet"
    groups: dict[tuple, list[Run]] = {}
    for run in runs:
        key = tuple(run[k] for k in ("net", "iterations", "imdb", "test_imdb"))
        groups.setdefault(key, []).append(run)
    return "\n\n".join(_group(key, group) for key, group in sorted(groups.items()))


def _group(key: tuple, runs: Sequence[Run]) -> str:
    net, iters, train, test = key
    values = {name: {run["seed"]: run for run in runs if run["scheme"] == name}
              for name in SCHEMES}
    header = ["scheme", "seeds", *MEASURES, "train, s", "test, s"]
    rows = [[f"({name}) {SCHEMES[name].title}", str(len(by_seed)),
             *(spread(100 * run[key] for run in by_seed.values()) for key in MEASURES),
             *(f"{statistics.mean(run[key] for run in by_seed.values()):.0f}"
               for key in ("train_seconds", "test_seconds"))]
            for name, by_seed in values.items() if by_seed]
    pairs = [[f"{second} - {first}", ", ".join(map(str, seeds)),
              *(differences([100 * (values[second][n][key] - values[first][n][key])
                             for n in seeds]) for key in MEASURES)]
             for first, second in PAIRS
             if (seeds := sorted(values[first].keys() & values[second].keys()))]
    parts = [f"{net}, {iters} iterations on {train}, tested with five stages on {test}; percent, "
             "mean ± standard deviation over the seeds:", markdown(header, rows)]
    if pairs:
        parts += ["Differences between runs of the same seed, one by one, then mean ± standard "
                  "deviation:", markdown(["pair", "seeds", *MEASURES], pairs)]
    return "\n\n".join(parts)


def spread(values: Iterable[float]) -> str:
    """Mean ± standard deviation; of one value there is none."""
    values = list(values)
    deviation = statistics.stdev(values) if len(values) > 1 else math.nan
    mean = f"{statistics.mean(values):.1f}"
    return mean if math.isnan(deviation) else f"{mean} ± {deviation:.1f}"


def differences(values: Sequence[float]) -> str:
    each = ", ".join(f"{value:+.1f}" for value in values)
    return each if len(values) < 2 else f"{each}; {spread(values)}"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def write_section(page: Path, text: str) -> None:
    """Put the text between the two marks of the page."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ConfigError(f"{page}: no lines {BEGIN!r} and {END!r} to put the results between")
    with atomic_path(page) as temporary:
        temporary.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")
