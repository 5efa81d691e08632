"""`mnc ablation`: train and test the schemes of the paper's Table 1, and compare them.

A run is a scheme and a seed. A finished run is a file RESULTS/NET_SCHEME_seedN.json and is not run
again; tables are made from these files alone.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from caffe.extend import atomic_path, current_device
from mnc import results
from mnc.config import ConfigError, cfg
from mnc.data import get_dataset
from mnc.data.hashes import file_hash, value_hash
from mnc.inference import load_net, test_dataset
from mnc.nets import NETS
from mnc.training.schemes import DECAY, SCHEMES, Places, seed, train_scheme

ITERATIONS = {"Mini": 1800}        # of a run; other nets: 25000
MEASURES = ("mAP^r@0.5", "mAP^r@0.7")
PAIRS = (("a", "b"), ("b", "c"), ("c", "d"), ("d", "paper"))
BEGIN, END = "<!-- results: written by mnc ablation -->", "<!-- end of results -->"

Run = dict[str, Any]


def run_ablation(args: argparse.Namespace) -> int:
    """train and test the schemes of the paper's Table 1 with several seeds, and compare them"""
    if args.cfg_file:
        raise ConfigError("the ablation reads a configuration for each task from --cfgs; change "
                          "single keys by --set")
    folder = Path(args.results)
    if not args.report:
        for number in args.seeds:
            for name in args.schemes:
                finished(name, number, folder, args)
    text = report(load_runs(folder))
    print(text)
    if args.docs and Path(args.docs).is_file():
        write_section(Path(args.docs), text)
    return 0


def add_ablation_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("--net", choices=NETS, default="Mini", help="default %(default)s")
    p.add_argument("--schemes", nargs="+", choices=SCHEMES, default=list(SCHEMES),
                   help="; ".join(f"{name}: {s.title}" for name, s in SCHEMES.items()))
    p.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    p.add_argument("--iters", type=int,
                   help="training iterations of a run, all steps together (default: "
                        f"{ITERATIONS['Mini']} for Mini, else 25000)")
    p.add_argument("--imdb", help="to train on (default: scenes_train for Mini, else "
                                  "voc_2012_seg_train)")
    p.add_argument("--test-imdb", help="to test on (default: likewise, val)")
    p.add_argument("--weights", metavar="FILE", help="initial weights (default: none)")
    p.add_argument("--report", action="store_true", help="no runs, only the table")
    p.add_argument("--results", default="experiments/results", metavar="DIR",
                   help="for a JSON file of each run (default %(default)s)")
    p.add_argument("--docs", default="docs/ablation.md", metavar="FILE",
                   help="page whose results section is renewed, if it is there "
                        "(default %(default)s)")
    p.add_argument("--out", default="output/ablation", metavar="DIR",
                   help="for weights and losses (default %(default)s)")
    p.add_argument("--models", metavar="DIR", help="default: models/NET")
    p.add_argument("--cfgs", metavar="DIR", help="default: experiments/cfgs/NET")


# --- runs ----------------------------------------------------------------------------------------

def finished(name: str, number: int, folder: Path, args: argparse.Namespace) -> Run:
    """The result of a run: from its file, else by running it and writing the file."""
    path = folder / f"{args.net}_{name}_seed{number}.json"
    wanted = description(name, number, args)
    if path.exists():
        found = json.loads(path.read_text())
        different = [key for key, value in wanted.items() if found.get(key) != value]
        if different:
            raise ConfigError(f"{path}: this run was made with other settings "
                              f"({', '.join(different)}); move it away or name another --results")
        print(f"{path} is there: not run again", flush=True)
        return found
    print(f"scheme {name}, seed {number}: {SCHEMES[name].title}", flush=True)
    found = {**wanted, **one_run(name, number, args)}
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(found, indent=2) + "\n")
    return found


def description(name: str, number: int, args: argparse.Namespace) -> Run:
    """What a run is, known before it is run."""
    train, test = imdbs(args)
    return {"net": args.net, "scheme": name, "title": SCHEMES[name].title, "seed": number,
            "iterations": iterations(args), "imdb": train, "test_imdb": test,
            "settings_sha256": settings_hash(name, args)}


def settings_hash(name: str, args: argparse.Namespace) -> str:
    """Of the steps, their nets, solvers, configurations and initial weights, by content."""
    scheme, where = SCHEMES[name], places(args)
    content = [repr(scheme), DECAY, file_hash(args.weights) if args.weights else None]
    for task in dict.fromkeys([*(step.task for step in scheme.steps), scheme.test]):
        content += [where.prototxt(task, phase).read_text() for phase in ("train", "test")]
        solver = where.prototxt(task, "solver").read_text().splitlines()
        content += [line for line in solver if not line.startswith(("train_net", "#"))]
        content.append(yaml.safe_load((where.cfgs / f"{task}.yml").read_text()))
    content.append(list(args.set_cfgs))
    return value_hash(content)


def one_run(name: str, number: int, args: argparse.Namespace) -> Run:
    """Train and test; figures from 0 to 1, times in seconds."""
    train, test = map(get_dataset, imdbs(args))
    scheme, where, began = SCHEMES[name], places(args), time.monotonic()
    seed(number)
    weights = train_scheme(scheme, where, train, Path(args.out, args.net, f"{name}_seed{number}"),
                           iterations(args), args.weights)
    trained = time.monotonic()
    with where.configuration(scheme.test):
        net = load_net(where.prototxt(scheme.test, "test"), weights, cfg.TEST.PRECISION)
        found = test_dataset(net, test, cfg)
        figures = results.measure(test, found, "seg", cfg.BINARIZE_THRESH)
    return {**{key: round(figures[key], 5) for key in (*MEASURES, "mAP^r_vol")},
            "train_seconds": round(trained - began, 1),
            "test_seconds": round(time.monotonic() - trained, 1),
            "device": device(), "torch": torch.__version__}


def device() -> str:
    if current_device().type == "cpu":
        return f"cpu, {torch.get_num_threads()} threads"
    return torch.cuda.get_device_name(cfg.GPU_ID)


def places(args: argparse.Namespace) -> Places:
    return Places(Path(args.models or f"models/{args.net}"),
                  Path(args.cfgs or f"experiments/cfgs/{args.net}"), args.set_cfgs[::2])


def imdbs(args: argparse.Namespace) -> tuple[str, str]:
    """To train on, to test on."""
    default = "scenes" if args.net == "Mini" else "voc_2012_seg"
    return args.imdb or f"{default}_train", args.test_imdb or f"{default}_val"


def iterations(args: argparse.Namespace) -> int:
    return args.iters or ITERATIONS.get(args.net, 25000)


# --- tables --------------------------------------------------------------------------------------

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


run, add_arguments = run_ablation, add_ablation_arguments
