"""Another `caffe` in the same environment is named, before it confuses anybody.

Where the other comes first on the path, Python makes its folder `caffe`, and takes from ours
only the modules that the other lacks (both forms of install offer them). `refuse()` ends that.
"""

from __future__ import annotations

import linecache
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from caffe.engine import log
from caffe.engine.compat import python2

_OWN = Path(__file__).resolve().parents[2]
_PATH_LINE = re.compile(r"^[^#]*\bsys\s*\.\s*path\b\s*(\.\s*(insert|append|extend)|\[|\+?=)")


def refuse() -> None:
    """Raises ImportError if the package `caffe` of this process is another's folder.

    It names both folders, and the line of the importing scripts that put the other on the path.
    """
    package = sys.modules.get("caffe")
    folders = [Path(folder).resolve() for folder in getattr(package, "__path__", ())]
    if not folders or _OWN in folders:
        return
    lines = [f"{file}:{number}: {text}" for file, number, text in _path_lines(folders)]
    todo = ("remove " + " and ".join(lines)) if lines else \
        f"take {folders[0].parent} off the Python path (PYTHONPATH, sys.path)"
    raise ImportError(f"`import caffe` found the folder {folders[0]}, which is another Caffe's; "
                      f"this one is {_OWN}. The two cannot be mixed: {todo}")


def _path_lines(others: list[Path]) -> Iterator[tuple[str, int, str]]:
    """(file, line, text) of what changes sys.path, in the files that are being run right now."""
    running = dict.fromkeys(frame.f_code.co_filename
                            for frame, _ in traceback.walk_stack(sys._getframe()))
    for file in running:
        if not python2.is_users(file) or set(others) & set(Path(file).resolve().parents):
            continue
        for number, text in enumerate(linecache.getlines(file), 1):
            if _PATH_LINE.search(text):
                yield file, number, text.strip()


def others() -> list[Path]:
    """Folders `caffe` on the Python path that hold some other Caffe."""
    folders = dict.fromkeys(Path(entry or ".") / "caffe" for entry in sys.path)
    return [folder for folder in folders if _is_other(folder)]


def _is_other(folder: Path) -> bool:
    try:
        if not (folder / "__init__.py").is_file() or folder.resolve() == _OWN:
            return False
        return not (folder / "engine" / "compat" / "other_caffe.py").exists()
    except OSError:
        return False


def warn() -> None:
    """Say which `caffe` was imported if there is a choice."""
    for folder in others():
        log.warning("There is another caffe on the Python path, %s; this process uses %s. Take one "
                    "of them off the path (PYTHONPATH, sys.path, pip uninstall).",
                    folder.resolve(), _OWN)
