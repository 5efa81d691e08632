"""`mnc make_init`: the weights that a net starts from, out of what torch's packages publish."""

from __future__ import annotations

import argparse
from pathlib import Path

from mnc.config import cfg


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("net", metavar="NET", help="VGG16, ResNet50v1.5, ResNet101v1.5 or Lite0")
    p.add_argument("--source", help="a .safetensors or .pth file of those weights, or "
                                    "torchvision:NAME:WEIGHTS (default: torchvision's, which it "
                                    "fetches; of Lite0 the package that the extra [lite0] has)")
    p.add_argument("--out", metavar="FILE",
                   help="default: data/imagenet_models/NET.mask.caffemodel")


def run(args: argparse.Namespace) -> int:
    from mnc.nets.initial import make_init

    output = Path(args.out or Path(cfg.DATA_DIR, "imagenet_models", f"{args.net}.mask.caffemodel"))
    print(f"{output}: {make_init(args.net, output, args.source)}")
    return 0
