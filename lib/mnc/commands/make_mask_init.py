"""`mnc make_mask_init`: from an ImageNet .caffemodel to the weights that a cascade starts from."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("model", metavar="FILE", help="ImageNet model, such as VGG16.v2.caffemodel")
    p.add_argument("output", nargs="?", metavar="OUT",
                   help="default: beside it, such as VGG16.mask.caffemodel")


def run(args: argparse.Namespace) -> int:
    from mnc.nets.mask_init import default_output, make_mask_init

    output = Path(args.output or default_output(args.model))
    copied = make_mask_init(args.model, output)
    print(f"{output}: {', '.join(f'{name} -> {name}_mask' for name in copied)}")
    return 0
