#!/usr/bin/env python3
"""Write the prototxt files of a net (or, without --net, of every net in models/)."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "lib"))

from mnc.nets import NETS, TASKS, NetError, generate, generate_all  # noqa: E402
from mnc.nets.generate import ANCHORS  # noqa: E402


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--net", choices=NETS, help="default: every net of the project")
    p.add_argument("--task", choices=TASKS, default="mnc_5stage")
    p.add_argument("--classes", type=int, help="number of classes, the background included")
    p.add_argument("--anchors", type=int, default=ANCHORS,
                   help="anchors per cell: len(ANCHOR_SCALES) * len(ANCHOR_RATIOS)")
    p.add_argument("--out", help="folder (default: models/NET/TASK)")
    return p


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    if args.net is None or args.out is None:
        os.chdir(ROOT)                 # solver.prototxt names its net relative to the checkout
    try:
        if args.net is None:
            paths = generate_all("models")
        else:
            paths = generate(args.net, args.task, args.out or f"models/{args.net}/{args.task}",
                             classes=args.classes, anchors=args.anchors)
    except NetError as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(map(str, paths)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
