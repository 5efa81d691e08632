"""summary: the layers of a net, with shapes, parameters, multiply-adds and memory."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from caffe.commands.export import reshape_inputs
from caffe.commands.registration import entry
from caffe.engine.fillers import drop_fillers
from caffe.engine.formats.atomic_file import atomic_path
from caffe.engine.formats.prototxt import read_net
from caffe.engine.layer import Phase
from caffe.engine.net.net import Net
from caffe.engine.net.page import page
from caffe.engine.net.summary import COLUMNS, Row, summarize, table, total


@entry("summary")
def main(argv: Sequence[str]) -> int:
    """the layers of a net: shapes, parameters, multiply-adds, memory"""
    args = parser().parse_args(argv)
    param = read_net(args.net)
    written = {}
    for layer in param.layer if args.html else ():
        written[layer.name] = type(layer)()
        written[layer.name].CopyFrom(layer)
    drop_fillers(param)         # nobody looks at the values
    net = Net.from_proto(param, Phase[args.phase], args.level, args.stage)
    if args.weights:
        net.copy_from(args.weights, required=True)
    reshape_inputs(net, args.input)
    if args.html:
        write_text(args.html, page(net, written))
        print(f"Wrote {args.html}")
    elif args.json:
        print(json.dumps(as_json(net), indent=1))
    elif args.csv:
        write_csv(net)
    else:
        print(table(net))
    return 0


def write_text(path: str, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="replace")


def as_json(net: Net) -> dict:
    rows = summarize(net)
    return {"name": net.name, "inputs": net.inputs, "outputs": net.outputs,
            "layers": [asdict(row) for row in rows], "total": _sums(total(net, rows))}


def _sums(row: Row) -> dict[str, int]:
    return {name: getattr(row, name) for name in ("parameters", "multiply_adds", "memory")}


def write_csv(net: Net) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in summarize(net):
        writer.writerow([row.layer, row.type, row.output, *_sums(row).values()])


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="summary", description="List the layers of a net: the shapes of their outputs, "
        "parameters, multiply-adds of products with weights, bytes of their outputs.")
    p.add_argument("net", help="prototxt of the net")
    p.add_argument("weights", nargs="?", help="weights, to see whether they fit")
    p.add_argument("--input", action="append", default=[], metavar="NAME=1x3x600x1000",
                   help="size of an input, if not the prototxt's (repeatable)")
    p.add_argument("--phase", default="TEST", choices=("TRAIN", "TEST"),
                   help="of the net (default %(default)s)")
    p.add_argument("--level", type=int, default=0, help="of the net, for include and exclude")
    p.add_argument("--stage", nargs="+", default=[], help="of the net, for include and exclude")
    form = p.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON")
    form.add_argument("--csv", action="store_true", help="as CSV, without the total")
    form.add_argument("--html", metavar="FILE",
                      help="a page with the graph: search, and click a layer for its fields")
    return p
