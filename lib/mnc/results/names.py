"""Names of output files, made from names that data sets and users give.

A data set's names come from files that others wrote: a COCO `file_name` may be absolute or climb
(`../`), two images may be a.jpg and a.png, a class may hold a slash. What is made of them here is
relative, lies inside the output folder, and is unique on any disk. Writers take nothing else.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from mnc.data.dataset import DataError, Dataset
from mnc.data.names import UNPRINTED, relative_name, shortened

LONGEST_FLAT = 100          # bytes of a name that is put together with others


def output_names(names: Iterable[object]) -> list[str]:
    """A relative path for each name, in its order, without ending; its folders are kept.

    Names that are good as they are stay; others lose what leads out of the folder, and a number is
    put behind one that is taken, also by a name that differs in upper and lower case only.
    """
    wanted = [relative_name(name) for name in names]
    folders = {_key(folder) for name in wanted for folder in _folders(name)}
    # first come those that may stay as they are: _2 behind another must not push them aside
    taken: set[str] = set()
    result: list[str | None] = []
    for name in wanted:
        free = _is_free(name, taken, folders)
        result.append(name if free else None)
        taken.add(_key(name))
    return [name or _numbered(want, taken, folders) for name, want in zip(result, wanted)]


def output_paths(folder: str | Path, dataset: Dataset, ending: str) -> list[Path]:
    """FOLDER/NAME + ending for each image of the data set.

    Raises DataError where one of these is itself an image of the data set, before anything is
    written over it.
    """
    paths = [Path(folder, f"{name}{ending}") for name in output_names(dataset.names)]
    images = {Path(dataset.image_path(i)).resolve() for i in range(len(dataset))}
    for path in paths:
        if path.resolve() in images:
            raise DataError(f"{path} is an image of {dataset.name}: it would be written over; name "
                            "another folder for the output (--out)")
    return paths


def flat_name(text: object) -> str:
    """One part of a file's name: without slashes, colons or what cannot be printed."""
    flat = UNPRINTED.sub("_", re.sub(r"[/\\:]+", "_", str(text))).strip()
    return shortened(flat, LONGEST_FLAT) if flat.strip("._ ") else "_"


def flat_names(names: Sequence[object]) -> list[str]:
    """The same of several, each of its own."""
    return output_names(map(flat_name, names))


def folder_name(imdb: str) -> str:
    """The name of a data set as a folder: sbd:data/mine:train is sbd_data_mine_train."""
    return re.sub(r"[^\w.+-]+", "_", imdb)


def line_names(names: Sequence[object]) -> list[str]:
    """The names as lines of text have them: without line breaks, each of its own."""
    lines = [" ".join(str(name).splitlines()).strip() for name in names]
    often = Counter(lines)
    return [line if often[line] == 1 else other for line, other in zip(lines, output_names(names))]


def _folders(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:n]) for n in range(1, len(parts))]


def _is_free(name: str, taken: set[str], folders: set[str]) -> bool:
    """Whether no other has the name, and no folder is called as one of its files would be."""
    key = _key(name)
    return key not in taken and not any(key + ending in folders
                                        for ending in (".png", ".txt", ".mat"))


def _numbered(name: str, taken: set[str], folders: set[str]) -> str:
    number = 2
    while not _is_free(f"{name}_{number}", taken, folders):
        number += 1
    taken.add(_key(f"{name}_{number}"))
    return f"{name}_{number}"


def _key(name: str) -> str:
    """What file systems that ignore case, or compose letters, take for the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
