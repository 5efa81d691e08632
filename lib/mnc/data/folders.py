"""Folders of images: which files in them are images."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from mnc.data.dataset import DataError

ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"}


def images_in(folder: Path) -> list[Path]:
    """The image files in a folder, by name; raises OSError if it cannot be read."""
    return sorted(path for path in folder.iterdir()
                  if path.suffix.lower() in ENDINGS and not path.is_dir())


def image_files(given: Sequence[str | Path], *, deep: bool = False) -> list[Path]:
    """The files named, and the images in the folders named, with `deep` below them, too.

    A name with * or ? that is no file stands for the files it fits (** for folders in depth).
    Raises DataError for what is not there, and if there is no image.
    """
    paths: list[Path] = []
    for each in given:
        path = Path(each)
        if path.is_dir():
            paths += images_below(path) if deep else images_in(path)
        elif path.exists() or not any(sign in str(each) for sign in "*?["):
            paths.append(path)
        else:
            fit = sorted(map(Path, glob.glob(str(each), recursive=True)))
            paths += [found for found in fit if found.suffix.lower() in ENDINGS]
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise DataError(f"no such file: {', '.join(missing[:5])}"
                        + (f" and {len(missing) - 5} more" if len(missing) > 5 else ""))
    if not paths:
        raise DataError(f"no image in {', '.join(map(str, given))}; endings looked for: "
                        f"{' '.join(sorted(ENDINGS))}")
    return paths


def files_below(folder: Path, *endings: str) -> list[Path]:
    """The files with these endings (lower case) in the folder and below it, by name; none hidden.

    Links to folders are followed once each. Raises DataError where there is no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    found, seen = [], set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        found += [Path(place, file) for file in sorted(files)
                  if not file.startswith(".") and file.lower().endswith(endings)]
    return found


def images_below(folder: Path) -> list[Path]:
    """The image files in the folder and below it, by name."""
    return files_below(folder, *ENDINGS)
