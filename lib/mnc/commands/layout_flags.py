"""The flags that lay a net out otherwise: --features, --stride, --context."""

from __future__ import annotations

import argparse

from mnc.nets.layout import FEATURES, STRIDES, Layout


def add_layout_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument("--features", choices=FEATURES,
                   help="one map, or a feature pyramid: proposals on all of its maps, each RoI "
                        "from the one that fits its size; for small objects, or sizes far apart "
                        "(default single; of `mnc train` what --fit chooses)")
    p.add_argument("--stride", type=int, choices=STRIDES,
                   help="image pixels a cell of the features, in a pyramid of the finest "
                        "(default: the net's own; 4 with a pyramid)")
    p.add_argument("--context", action="store_true",
                   help="add a feature of the whole image to those of each RoI")


def layout_of(args: argparse.Namespace) -> Layout:
    return Layout(args.features or FEATURES[0], args.stride, args.context)
