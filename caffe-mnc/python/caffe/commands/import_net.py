"""import: a classifier of torchvision, timm or a file of its weights, as a Caffe net."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from caffe.commands.registration import UsageError, tool
from caffe.importing.sources import import_net


@tool("import")
def main(argv: Sequence[str]) -> int:
    """torch's weights as prototxt and caffemodel"""
    args = parser().parse_args(argv)
    prefix = Path(args.output)
    if prefix.suffix in (".prototxt", ".caffemodel"):
        prefix = prefix.with_suffix("")
    if not prefix.name:
        raise UsageError("-o takes the files' common name, such as models/vgg16")
    net = import_net(args.source)
    for line in net.comments:
        print(line)
    prototxt, weights = net.save(prefix)
    print(f"Wrote {prototxt} and {weights}: {net.message.name}")
    return 0


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="import", description="Write a classifier of torch as a Caffe net: NAME.prototxt and "
        "NAME.caffemodel, with the layer names of the nets published for Caffe.")
    p.add_argument("source", help="torchvision:NAME (vgg16, resnet50, resnet101; with :WEIGHTS one "
                                  "of several), lite0, or a .safetensors or .pth file of VGG or "
                                  "ResNet weights under the names of torchvision or timm")
    p.add_argument("-o", "--output", required=True, metavar="NAME",
                   help="the files, without their endings")
    return p
