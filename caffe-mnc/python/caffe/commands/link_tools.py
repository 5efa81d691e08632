"""link_tools: build/tools and build/examples of an old project, whose scripts start them."""

from __future__ import annotations

import shutil
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

from caffe.commands.registration import TOOLS, UsageError, entry

EXAMPLES = {"mnist": "convert_mnist_data", "cifar10": "convert_cifar_data",
            "siamese": "convert_mnist_siamese_data"}


@entry("link_tools")
def main(argv: Sequence[str]) -> int:
    """make build/tools and build/examples of an old project, with these commands in them: FOLDER"""
    if len(argv) != 1 or argv[0].startswith("-"):
        raise UsageError("usage: link_tools FOLDER\n\nMakes FOLDER/build/tools/caffe.bin and the "
                         "like, which scripts such as examples/mnist/create_mnist.sh start. Files "
                         "that are there already stay.")
    root = Path(argv[0])
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder")
    names = ["caffe", *(name for name in TOOLS.names() if name not in EXAMPLES.values())]
    places = {Path("build/tools", name): name for name in names}
    places |= {Path("build/examples", folder, name): name for folder, name in EXAMPLES.items()}
    made = [write(root / f"{place}{ending}", name)
            for place, name in places.items() for ending in ("", ".bin")]
    print(f"{sum(made)} commands in {root / 'build'}; {len(made) - sum(made)} were there")
    return 0


def write(path: Path, name: str) -> bool:
    """A shell script that starts this command; False where something is there already."""
    if path.exists():
        return False
    own = shutil.which(name, path=str(Path(sys.executable).parent))
    words = f'"{own}"' if own else f'"{sys.executable}" -m caffe' + ("" if name == "caffe"
                                                                     else f" {name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return True
