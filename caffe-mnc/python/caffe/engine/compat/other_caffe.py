"""Another `caffe` in the same environment is named, before it confuses anybody."""

from __future__ import annotations

import sys
from pathlib import Path

from caffe.engine import log

_OWN = Path(__file__).resolve().parents[2]


def others() -> list[Path]:
    """Folders `caffe` on the Python path that hold some other Caffe."""
    folders = dict.fromkeys(Path(entry or ".") / "caffe" for entry in sys.path)
    return [folder for folder in folders if _is_other(folder)]


def _is_other(folder: Path) -> bool:
    try:
        if not (folder / "__init__.py").is_file() or folder.resolve() == _OWN:
            return False
        return not (folder / "engine" / "other_caffe.py").exists()
    except OSError:
        return False


def warn() -> None:
    """Say which `caffe` was imported if there is a choice."""
    for folder in others():
        log.warning("There is another caffe on the Python path, %s; this process uses %s. Take one "
                    "of them off the path (PYTHONPATH, sys.path, pip uninstall).",
                    folder.resolve(), _OWN)
