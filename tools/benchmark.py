#!/usr/bin/env python3
"""`mnc benchmark` as a tool; --help lists the flags."""

import sys

import _init_paths  # noqa: F401

from mnc.cli import main

if __name__ == "__main__":
    sys.exit(main(["benchmark", *sys.argv[1:]]))
