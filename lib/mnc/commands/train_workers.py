"""The flags of `mnc train` for several workers that train one net."""

from __future__ import annotations

import argparse


def add_arguments(p: argparse.ArgumentParser) -> None:
    """The flags of this module; --workers and --gpu are of every command that can be shared."""
    p.add_argument("--compress", choices=("", "bf16"), default="",
                   help="several workers: gradients go in half the bytes")
    p.add_argument("--sync-bn", action="store_true",
                   help="several workers: BatchNorm and BN take the statistics of all of them")
    p.add_argument("--worker-limit", type=float, default=300.0, metavar="SECONDS",
                   help="several workers: one that does not come for so long counts as hanging "
                        "(default %(default)s)")
    p.add_argument("--log-all-workers", action="store_true",
                   help="several workers: lines of every one, not of worker 0 alone")
