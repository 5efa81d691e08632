"""Names of images as paths that stay inside a folder, whatever a list or a JSON says.

What is written under them is named by mnc.results.names, which makes each its own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

LONGEST = 200               # bytes of a part of a path; file systems take 255, with the ending
UNPRINTED = re.compile(r"[\x00-\x1f\x7f]")


def relative_name(name: object) -> str:
    """The name as a relative path: without what leads out of a folder, or cannot be printed."""
    parts = [UNPRINTED.sub("_", part) for part in re.split(r"[/\\]", str(name))]
    return "/".join(shortened(part) for part in parts if part.strip(". ")) or "_"


def named_files(folder: str | os.PathLike, names: Sequence[object], ending: str) -> list[Path]:
    """FOLDER/NAME + ending of each image: inside the folder, one file for all of one name.

    For what is kept from one data set to the next, as MCG's regions are.
    """
    return [Path(folder, f"{relative_name(name)}{ending}") for name in names]


def shortened(part: str, most: int = LONGEST) -> str:
    """The first so many bytes of a part of a path."""
    return part.encode(errors="replace")[:most].decode(errors="ignore")


def relative_files(paths: Sequence[str]) -> list[str]:
    """The paths, relative to the folder that holds them all."""
    root = common_folder(paths)
    return [os.path.relpath(path, root).replace(os.sep, "/") for path in paths]


def common_folder(paths: Sequence[str]) -> str:
    """The folder that holds all of these files, itself or below it."""
    return os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths] or ["."])
