#!/usr/bin/env python3
"""`mnc ablation` as a tool; --help lists the flags."""

import sys

import _init_paths  # noqa: F401

from mnc.cli import main

if __name__ == "__main__":
    sys.exit(main(["ablation", *sys.argv[1:]]))
