#!/usr/bin/env python3
"""`mnc train` under its old name, with the old default of --imdb; --help lists the flags."""

import sys

import _init_paths  # noqa: F401

from mnc.cli import main

if __name__ == "__main__":
    # a training that goes on has the data set that it began with
    goes_on = "--resume" in sys.argv and not {"--solver", "--net"} & {*sys.argv}
    default = [] if goes_on else ["--imdb", "voc_2007_trainval"]
    sys.exit(main(["train", *default, *sys.argv[1:]]))
