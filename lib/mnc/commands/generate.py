"""`mnc generate`: the prototxt files of a net (or, without --net, of every net in models/)."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from mnc.config import cfg
from mnc.nets import NETS, TASKS, NetError, generate, generate_all
from mnc.nets.command import ANCHORS


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("--net", choices=NETS, help="default: every net of the project")
    p.add_argument("--task", choices=TASKS, default="mnc_5stage")
    p.add_argument("--classes", type=int, help="number of classes, the background included")
    p.add_argument("--anchors", type=int, default=ANCHORS,
                   help="anchors per cell: len(ANCHOR_SCALES) * len(ANCHOR_RATIOS)")
    p.add_argument("--context", action="store_true",
                   help="add a feature of the whole image to those of each RoI (needs --net)")
    p.add_argument("--out", help="folder (default: models/NET/TASK, with _context if that is "
                                 "given; without --net: models)")


def run(args: argparse.Namespace) -> int:
    if args.out is None:
        os.chdir(cfg.ROOT_DIR)         # solver.prototxt names its net relative to the checkout
    print("\n".join(map(str, _write(args))))
    return 0


def _write(args: argparse.Namespace) -> list[Path]:
    sizes = {"classes": args.classes, "anchors": args.anchors}
    if args.net:
        folder = f"models/{args.net}/{args.task}" + ("_context" if args.context else "")
        return generate(args.net, args.task, args.out or folder, context=args.context, **sizes)
    if args.context:
        raise NetError("--context needs --net")
    return generate_all(args.out or "models", **sizes)
