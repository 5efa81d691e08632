"""Results that are slow to make, kept as .npz under a hash of all that they depend on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from zipfile import BadZipFile

import numpy as np

from caffe.extend import atomic_path

log = logging.getLogger("mnc")
Arrays = dict[str, np.ndarray]


def kept(path: Path, make: Callable[[], Arrays]) -> Arrays:
    """The arrays in this file; they are made, and kept there, if there is none or a broken one."""
    found = _load(path)
    if found is None:
        found = make()
        _save(path, found)
    return found


def _load(path: Path) -> Arrays | None:
    if not path.is_file():
        return None
    try:
        with np.load(path) as archive:
            return dict(archive)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        log.warning("%s: not readable (%s); it is made again", path, error)
        return None


def _save(path: Path, arrays: Arrays) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary, open(temporary, "wb") as stream:
            np.savez(stream, **cast(Any, arrays))    # in numpy 1 allow_pickle is an array, too
    except OSError as error:
        log.warning("%s: could not be kept (%s)", path, error)
