#!/usr/bin/env python3
"""From published MCG regions to the files that convolutional feature masking works on.

    tools/prepare_mcg_maskdb.py --input data/MCG-raw --output data/MCG --db train --para_job 8

One .mat for each image. Images that have theirs are not done again, so that a run can be stopped
and started anew. `train` files hold overlaps with the ground truth besides boxes and masks.
"""

from __future__ import annotations

import argparse
import logging
import sys

import _init_paths  # noqa: F401

from mnc.commands.session import show_log
from mnc.config import cfg
from mnc.data import DataError, get_dataset
from mnc.data.mcg import Settings, prepare

log = logging.getLogger("mnc")


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--input", default="data/MCG-raw", metavar="DIR",
                   help="folder of the published .mat files (default %(default)s)")
    p.add_argument("--output", default="data/MCG", metavar="DIR",
                   help="where to write (default %(default)s)")
    p.add_argument("--db", choices=("train", "val"), default="train",
                   help="train: with overlaps and targets (default); val: boxes and masks only")
    p.add_argument("--imdb", metavar="NAME", help="data set (default voc_2012_seg_DB)")
    p.add_argument("-mask_sz", "--mask_sz", type=int, default=cfg.MASK_SIZE, metavar="S",
                   help="side of the masks (default %(default)s)")
    p.add_argument("--top_k", type=int, default=-1, metavar="N",
                   help="regions of an image, -1 for all (default)")
    p.add_argument("--para_job", type=int, default=1, metavar="N",
                   help="processes (default %(default)s)")
    p.add_argument("--gt_roi", metavar="FILE", help="of no effect: see --imdb")
    p.add_argument("--gt_mask", metavar="FILE", help="of no effect: see --imdb")
    return p


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    show_log(logging.INFO)
    if args.gt_roi or args.gt_mask:
        log.warning("--gt_roi and --gt_mask are of no effect: the ground truth is read from "
                    "the data set (--imdb)")
    settings = Settings(args.mask_sz, args.top_k, cfg.BINARIZE_THRESH)
    try:
        dataset = get_dataset(args.imdb or f"voc_2012_seg_{args.db}")
        wrong = prepare(dataset, args.input, args.output, settings, train=args.db == "train",
                        jobs=args.para_job)
    except (DataError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{len(dataset) - len(wrong)} of {len(dataset)} images are prepared in {args.output}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
