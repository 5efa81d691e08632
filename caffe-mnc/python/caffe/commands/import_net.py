"""import: a classifier of torch or an ONNX model, as a Caffe net."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from caffe.commands.export import shape_of_input
from caffe.commands.registration import UsageError, entry
from caffe.importing.onnx_check import kept_if_equal
from caffe.importing.onnx_net import net_of
from caffe.importing.sources import import_net


@entry("import")
def main(argv: Sequence[str]) -> int:
    """torch's weights or an ONNX model as prototxt and caffemodel"""
    args = parser().parse_args(argv)
    prefix = Path(args.output)
    if prefix.suffix in (".prototxt", ".caffemodel"):
        prefix = prefix.with_suffix("")
    if not prefix.name:
        raise UsageError("-o takes the files' common name, such as models/vgg16")
    if Path(args.source).suffix == ".onnx":
        net = net_of(args.source, dict(map(shape_of_input, args.input)))
        said = kept_if_equal(net, args.source, prefix)
    else:
        net = import_net(args.source)
        net.save(prefix)
        said = ". ".join(net.comments)
    print(f"Wrote {prefix}.prototxt and {prefix}.caffemodel: {net.message.name}")
    print(said)
    return 0


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="import", description="Write a classifier of torch or an ONNX model as a Caffe net: "
        "NAME.prototxt and NAME.caffemodel. Classifiers get the layer names of the nets published "
        "for Caffe.")
    p.add_argument("source", help="torchvision:NAME (vgg16, resnet50, resnet101; with :WEIGHTS one "
                                  "of several), lite0, a .safetensors or .pth file of VGG or "
                                  "ResNet weights under the names of torchvision or timm, or an "
                                  ".onnx file")
    p.add_argument("-o", "--output", required=True, metavar="NAME",
                   help="the files, without their endings")
    p.add_argument("--input", action="append", default=[], metavar="NAME=1x3x224x224",
                   help="size of an input that an ONNX model leaves open (repeatable)")
    return p
