"""Lists of the images of a split, and where their files are."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from caffe.extend import inside, read_encoded
from mnc.data.dataset import DataError
from mnc.data.folders import ENDINGS

FLAGS = ("1", "0", "-1")        # of VOC's lists of one class: NAME FLAG


def read_list(path: Path, has: Callable[[str], bool]) -> list[str]:
    """The names in a list, a line each; `has(name)` says whether there are files of that name.

    The list may be in any encoding. VOC's flag behind a name, and the ending of an image, are
    left out where only the rest has files. Raises DataError where a name is absolute, climbs out
    of the folder, or the list is not there.
    """
    if not path.parent.is_dir():
        raise DataError(f"{path.parent}: no such folder; a split is a list there, {path.name}")
    if not path.is_file():
        have = ", ".join(sorted(f.name for f in path.parent.glob("*.txt")))
        raise DataError(f"{path}: no such list; {path.parent} has {have or 'none at all'}")
    text, encoding = read_encoded(path)
    if "\0" in text:
        raise DataError(f"{path}: a binary file, where a list of names is expected")
    names = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            inside(path.parent, line.strip())
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}") from None
        forms = _forms(line.strip(), encoding)
        names.append(forms[0] if len(forms) == 1 else next(filter(has, forms), forms[0]))
    return names


def _forms(line: str, encoding: str) -> list[str]:
    """What the line may mean, the likeliest first."""
    forms = [line]
    name, _, flag = line.replace("\t", " ").rpartition(" ")
    if flag in FLAGS and name.strip():
        forms.append(name.strip())
    forms += [stem for stem, ending in map(os.path.splitext, forms) if ending.lower() in ENDINGS]
    if not encoding.startswith("utf"):                 # the files may be named by the same bytes
        forms += [os.fsdecode(form.encode(encoding)) for form in forms]
    return forms


def image_file(folder: Path, name: str) -> str:
    """The path of FOLDER/NAME with the ending of an image; with .jpg if there is none."""
    endings = [form for ending in (".jpg", *sorted(ENDINGS)) for form in (ending, ending.upper())]
    paths = (f"{folder / name}{ending}" for ending in endings)
    return next(filter(os.path.isfile, paths), f"{folder / name}.jpg")
