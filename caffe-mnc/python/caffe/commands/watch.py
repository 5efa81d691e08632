"""watch: the live page of a training."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from caffe import watch
from caffe.commands.registration import entry


@entry("watch")
def main(argv: Sequence[str]) -> int:
    """show a training while it runs, as a page: losses, tests, rate, speed"""
    args = parser().parse_args(argv)
    return watch.watch(args.training, page=args.page, host=args.host, port=args.port)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="caffe watch", description="A page that shows a training "
                                "while it runs, on a local server.")
    p.add_argument("training", metavar="FOLDER|FILE",
                   help="where it writes PREFIX_metrics.jsonl (caffe train --metrics), or the file")
    p.add_argument("--port", type=int, metavar="N",
                   help=f"of the server (default: the first free one from {watch.PORT} on)")
    p.add_argument("--host", default="127.0.0.1", metavar="ADDRESS",
                   help="of the server (default %(default)s: seen from this machine alone)")
    p.add_argument("--page", metavar="FILE",
                   help="instead: write the page with all that is known now as one file")
    return p
