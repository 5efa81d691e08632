#!/usr/bin/env python3
"""`mnc demo` under its old name; --help lists the flags."""

import sys

import _init_paths  # noqa: F401

from mnc.cli import main

if __name__ == "__main__":
    sys.exit(main(["demo", *sys.argv[1:]]))
