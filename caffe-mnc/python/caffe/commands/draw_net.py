"""draw_net: a net as a graph of its layers and blobs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from caffe import draw
from caffe.commands.registration import entry
from caffe.engine.formats.prototxt import read_net

PHASES = {"TRAIN": 0, "TEST": 1, "ALL": None}


@entry("draw_net")
def main(argv: Sequence[str]) -> int:
    """draw a net as a graph"""
    args = parser().parse_args(argv)
    net = read_net(args.input_net_proto_file)
    print(f"Drawing net to {args.output_image_file}")
    draw.draw_net_to_file(net, args.output_image_file, args.rankdir, PHASES[args.phase],
                          args.display_lrm)
    return 0


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="draw_net", description="Draw a net prototxt as a graph.")
    p.add_argument("input_net_proto_file", help="file of the net")
    p.add_argument("output_image_file", help="picture to write; its ending says the format")
    p.add_argument("--rankdir", default="LR", choices=("TB", "LR", "BT", "RL"),
                   help="direction: top to bottom, left to right ... (default %(default)s)")
    p.add_argument("--phase", default="ALL", choices=tuple(PHASES),
                   help="draw the layers of this phase only (default %(default)s)")
    p.add_argument("--display_lrm", action="store_true",
                   help="show the learning-rate multipliers of the layers")
    return p
