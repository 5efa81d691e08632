"""`mnc ablation`: train and test the schemes of the paper's Table 1, and compare them.

A run is a scheme and a seed. A finished run is a file RESULTS/NET_SCHEME_seedN.json and is not run
again; tables are made from these files alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mnc.config import ConfigError
from mnc.nets import NETS
from mnc.schemes import ITERATIONS, SCHEMES


def add_arguments(p: argparse.ArgumentParser) -> None:
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


def run(args: argparse.Namespace) -> int:
    from mnc.commands.ablation_runs import finished
    from mnc.commands.ablation_table import load_runs, report, write_section

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
