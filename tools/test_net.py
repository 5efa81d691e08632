#!/usr/bin/env python3
"""`mnc test` under its old name, with the old default of --imdb; --help lists the flags."""

import sys

import _init_paths  # noqa: F401

from mnc.cli import main

if __name__ == "__main__":
    sys.exit(main(["test", "--imdb", "voc_2007_test", *sys.argv[1:]]))
