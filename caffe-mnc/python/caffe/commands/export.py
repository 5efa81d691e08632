"""export: a net as a file of torch or ONNX, held against the net."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

from caffe.commands.registration import UsageError, entry
from caffe.engine.formats.arrays import read_arrays
from caffe.engine.layer import TEST
from caffe.engine.net.net import Net
from caffe.export import TARGETS, Form, export


@entry("export")
def main(argv: Sequence[str]) -> int:
    """a net as a file of torch or ONNX, run there and compared"""
    args = parser().parse_args(argv)
    net = Net(args.net, TEST)
    if args.weights:
        net.copy_from(args.weights, required=True)
    reshape_inputs(net, args.input)
    values = read_arrays(args.values) if args.values else None
    form = Form(dict(map(dynamic_axes, args.dynamic)), args.fp16)
    done = export(net, args.output, args.to, outputs=args.outputs, values=values, form=form)
    print(f"Wrote {args.output}: {', '.join(done.inputs)} -> {', '.join(done.outputs)}")
    print(f"Largest difference from the net: {done.difference:.3g}")
    if done.foreign:
        print(f"It needs `import caffe.ops` where it is loaded, for {', '.join(done.foreign)}")
    for note in done.notes:
        print(f"Note: {note}")
    return 0


def dynamic_axes(text: str) -> tuple[str, tuple[int, ...]]:
    """'data:0,2,3' -> ('data', (0, 2, 3))"""
    name, _, axes = text.rpartition(":")
    if not name or not re.fullmatch(r"\d+(,\d+)*", axes):
        raise UsageError(f"--dynamic takes NAME:0,2,3, an input and its axes, got {text!r}")
    return name, tuple(map(int, axes.split(",")))


def reshape_inputs(net: Net, sizes: Sequence[str]) -> None:
    """Give inputs of the net other shapes: NAME=1x3x600x1000 each."""
    for name, shape in map(shape_of_input, sizes):
        if name not in net.inputs:
            raise UsageError(f"--input {name}: the net's inputs are "
                             f"{', '.join(net.inputs) or 'none'}")
        net.blobs[name].reshape(*shape)
    if sizes:
        net.reshape()


def shape_of_input(text: str) -> tuple[str, tuple[int, ...]]:
    """'data=1x3x600x1000' -> ('data', (1, 3, 600, 1000))"""
    name, _, sizes = text.rpartition("=")
    if not name or not re.fullmatch(r"\d+(x\d+)*", sizes):
        raise UsageError(f"--input takes NAME=1x3x600x1000, got {text!r}")
    return name, tuple(map(int, sizes.split("x")))


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="export", description="Write a net as a file of another program, which is then run "
        "there on random inputs; above a difference of 1e-4 nothing is written.")
    p.add_argument("net", help="prototxt of the net, in phase TEST")
    p.add_argument("weights", nargs="?", help="its .caffemodel or HDF5 (default: as fillers fill)")
    p.add_argument("--to", required=True, choices=TARGETS.names(),
                   help="torch: the weights as a state_dict; torchscript; pt2: torch.export's; "
                        "onnx; code: a .py of plain torch beside a .safetensors")
    p.add_argument("-o", "--output", required=True, help="file to write")
    p.add_argument("--input", action="append", default=[], metavar="NAME=1x3x600x1000",
                   help="size of an input, if not the prototxt's (repeatable)")
    p.add_argument("--dynamic", action="append", default=[], metavar="NAME:0,2,3",
                   help="axes of an input that may have any size (repeatable; all but torch)")
    p.add_argument("--fp16", action="store_true",
                   help="weights and arithmetic in 16 bits; outputs may differ by 1e-2")
    p.add_argument("--outputs", nargs="+", metavar="BLOB",
                   help="blobs to compute (default: the net's outputs)")
    p.add_argument("--values", help=".npz with an array for each input, to compare on instead of "
                                    "random numbers (RoIs, labels)")
    return p
