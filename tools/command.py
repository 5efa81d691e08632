#!/usr/bin/env python3
"""`mnc COMMAND` from a plain checkout; under a command's name (links beside it), that command."""

import sys
from pathlib import Path

import _init_paths  # noqa: F401

from mnc.cli import main

if __name__ == "__main__":
    called = Path(sys.argv[0]).stem
    sys.exit(main([called, *sys.argv[1:]] if called != "command" else None))
