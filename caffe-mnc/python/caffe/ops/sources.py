"""Where the kernels' sources lie: those for GPUs are compiled when they are first used."""

from __future__ import annotations

from pathlib import Path


def sources() -> Path:
    """The folder of *.cu and *.hpp: beside this file if installed, else that of the checkout."""
    here = Path(__file__).resolve()
    installed = here.parent / "src"
    return installed if installed.is_dir() else here.parents[3] / "src" / "ops"
