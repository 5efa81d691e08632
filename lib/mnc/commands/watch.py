"""`mnc watch`: the live page of a training."""

from __future__ import annotations

import argparse


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("training", metavar="OUT", help="the folder of the training (--out)")
    p.add_argument("--port", type=int, metavar="N",
                   help="of the local server (default: the first free one from 8765 on)")
    p.add_argument("--host", default="127.0.0.1", metavar="ADDRESS",
                   help="of the server (default %(default)s: seen from this machine alone)")
    p.add_argument("--page", metavar="FILE",
                   help="instead: write the page with all that is known now as one file")


def run(args: argparse.Namespace) -> int:
    from caffe.watch import watch

    return watch(args.training, page=args.page, host=args.host, port=args.port)
