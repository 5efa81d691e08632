#!/usr/bin/env python3
"""From an ImageNet .caffemodel to the *.mask.caffemodel that a cascade starts from; see --help."""

import sys

import _init_paths  # noqa: F401

from mnc.nets.mask_init import main

if __name__ == "__main__":
    sys.exit(main())
