"""`mnc generate`: the prototxt files of a net (or, without --net, of every net in models/)."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from mnc.commands.layout_flags import add_layout_flags, layout_of
from mnc.config import cfg
from mnc.nets import NETS, TASKS, NetError, generate, generate_all
from mnc.nets.command import ANCHORS
from mnc.nets.layout import PLAIN


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("--net", choices=NETS, help="default: every net of the project")
    p.add_argument("--task", choices=TASKS, default="mnc_5stage")
    p.add_argument("--classes", type=int, help="number of classes, the background included")
    p.add_argument("--anchors", type=int, default=ANCHORS,
                   help="anchors per cell: len(ANCHOR_SCALES) * len(ANCHOR_RATIOS)")
    add_layout_flags(p)
    p.add_argument("--out", help="folder (default: models/NET/TASK with the layout behind; without "
                                 "--net: models)")


def run(args: argparse.Namespace) -> int:
    if args.out is None:
        os.chdir(cfg.ROOT_DIR)         # solver.prototxt names its net relative to the checkout
    print("\n".join(map(str, _write(args))))
    return 0


def _write(args: argparse.Namespace) -> list[Path]:
    sizes, layout = {"classes": args.classes, "anchors": args.anchors}, layout_of(args)
    if args.net:
        folder = f"models/{args.net}/{args.task}{layout.ending}"
        return generate(args.net, args.task, args.out or folder, layout=layout, **sizes)
    if layout != PLAIN:
        raise NetError(f"{layout.flags[0]} needs --net")
    return generate_all(args.out or "models", **sizes)
