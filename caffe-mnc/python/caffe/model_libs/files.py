"""Two checks that scripts of SSD make of their paths."""

from __future__ import annotations

import os


def check_if_exist(path: str) -> bool:
    """Whether there is something at `path`."""
    return os.path.exists(path)


def make_if_not_exist(path: str) -> None:
    """Make the folder `path`, and those above it."""
    os.makedirs(path, exist_ok=True)
