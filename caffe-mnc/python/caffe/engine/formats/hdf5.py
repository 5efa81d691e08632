"""HDF5 files: the one place where they are opened, for reading and for writing.

A file stands for itself: links to other files, values kept in other files and virtual data sets
are refused, and what a damaged file makes the library raise becomes one `Hdf5Error`. Parameters of
a layer lie in the group of its name, where / parts groups as in Caffe; a name that cannot be said
so is stored percent-encoded (`stored_as`).
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, unquote

import h5py
import numpy as np
import torch

from caffe.engine import pages
from caffe.engine.errors import CaffeError
from caffe.engine.formats.atomic_file import write_file

LARGEST_EXPANSION = 1100        # gzip makes at most 1032 bytes of one
TABLES = 1 << 16                # what the library writes beside values when some are added, at most
MOST_LINKS = 16                 # soft links on the way to an object
DEEPEST = 32                    # groups in groups


class Hdf5Error(ValueError):
    """An HDF5 file, or what is asked of it, cannot be read; the message names the file."""


@contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """An HDF5 file to read; Hdf5Error for what the library finds wrong with it in the block.

    Raises FileNotFoundError where there is no such file.
    """
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (FileNotFoundError, CaffeError, Hdf5Error):
        raise
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, AttributeError, IndexError,
            OverflowError) as error:
        what = str(error).split("\n")[0][:200]
        raise Hdf5Error(f"{os.fspath(path)}: not an HDF5 file, or damaged: {what}") from error


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """An HDF5 file to fill, in memory; it is written when the block ends without an error.

    The library ends the process where it cannot write: no disk is left for it to find full.
    """
    memory = io.BytesIO()
    with h5py.File(memory, "w", libver="earliest") as file:
        yield file
    write_file(path, memory.getbuffer())


@contextmanager
def appending(path: str | os.PathLike[str],
              values: Mapping[str, np.ndarray]) -> Iterator[h5py.File]:
    """An HDF5 file to append `values` to: by data set, arrays (N, ...) of more items.

    Raises OSError, with the file as it was, where they do not fit: room is made first, zeros behind
    the end of the file that the library writes over, and cuts off when it closes the file.
    """
    with reading(path) as file:
        chunks = [math.prod(file[name].chunks or ()) * array.itemsize if name in file else 0
                  for name, array in values.items()]
    _make_room(path, sum(array.nbytes for array in values.values()) + sum(chunks) + TABLES)
    with h5py.File(path, "r+") as file:
        yield file


def _make_room(path: str | os.PathLike[str], size: int) -> None:
    with open(path, "rb+", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        try:
            while size > 0:
                size -= file.write(bytes(min(size, 1 << 20)))
        except OSError as error:
            file.truncate(end)
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error


# --- objects -------------------------------------------------------------------------------------

def find(group: h5py.Group, path: str) -> h5py.Group | h5py.Dataset | None:
    """The object at a path below a group; None if there is none.

    Raises Hdf5Error where the way leads out of the file, or nowhere.
    """
    return _follow(group, [part for part in path.split("/") if part], MOST_LINKS)


def _follow(group: Any, parts: list[str], links: int) -> Any:
    where = group
    for k, part in enumerate(parts):
        if not isinstance(where, h5py.Group):
            return None
        link = where.get(part, getlink=True)
        if link is None:
            return None
        name = f"{where.file.filename}: {where.name.rstrip('/')}/{part}"
        if isinstance(link, h5py.ExternalLink):
            raise Hdf5Error(f"{name} is a link to another file, {link.filename}; links out of a "
                            "file are not followed: copy what it names into the file")
        if isinstance(link, h5py.SoftLink):
            if not links:
                raise Hdf5Error(f"{name} is a link that leads to itself")
            start = where.file if link.path.startswith("/") else where
            rest = [each for each in link.path.split("/") if each and each != "."]
            return _follow(start, rest + parts[k + 1:], links - 1)
        where = where[part]
    return where


def children(group: h5py.Group) -> dict[str, h5py.Group | h5py.Dataset]:
    """What is in a group, by name; Hdf5Error for links out of the file or to nowhere."""
    found = {name: find(group, name) for name in group}
    lost = [name for name, item in found.items() if item is None]
    if lost:
        raise Hdf5Error(f"{group.file.filename}: {group.name}/{lost[0]} is a link to nothing")
    return found


def arrays_below(group: h5py.Group, depth: int = 0) -> dict[str, h5py.Dataset]:
    """The data sets in a group and the groups in it, by path.

    Raises Hdf5Error where groups lie too deep in each other.
    """
    if depth > DEEPEST:
        raise Hdf5Error(f"{group.file.filename}: more than {DEEPEST} groups in each other")
    found: dict[str, h5py.Dataset] = {}
    for name, item in children(group).items():
        if isinstance(item, h5py.Dataset):
            found[name] = item
        elif isinstance(item, h5py.Group):
            below = arrays_below(item, depth + 1)
            found |= {f"{name}/{path}": each for path, each in below.items()}
    return found


def check_numbers(dataset: Any, label: str) -> h5py.Dataset:
    """A data set of numbers that lie in the file; else Hdf5Error that begins with `label`."""
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "fiu":
        raise Hdf5Error(f"{label} does not hold numbers")
    if dataset.is_virtual:
        raise Hdf5Error(f"{label} is a virtual data set, its values are in other files; write them "
                        "into one file")
    if dataset.external:
        raise Hdf5Error(f"{label} has its values in another file, {dataset.external[0][0]}; what "
                        "is outside the file is not read")
    if dataset.size and not dataset.id.get_storage_size():
        raise Hdf5Error(f"{label} was never written: it has the shape {dataset.shape}, but no "
                        "values")
    bytes_there = os.path.getsize(dataset.file.filename)
    if dataset.nbytes > LARGEST_EXPANSION * bytes_there:
        raise Hdf5Error(f"{label} claims the shape {dataset.shape}, more than a file of "
                        f"{bytes_there} bytes holds")
    return dataset


def numbers(dataset: h5py.Dataset) -> np.ndarray:
    """The values of a checked data set, in the byte order of this machine.

    Of the shape it has in the file.
    """
    if dataset.dtype.newbyteorder("=") == np.float32 and dataset.nbytes >= pages.LARGE:
        values = pages.zeros(dataset.shape, torch.float32).numpy()
        dataset.read_direct(values)
        return values
    return np.asarray(dataset[()], dataset.dtype.newbyteorder("="))


# --- names ---------------------------------------------------------------------------------------

def stored_as(name: str, others: Collection[str] = ()) -> str:
    """The path of a layer's group: its name, or that encoded where HDF5 would take it for another.

    others: the layers that have parameters; in the group of `conv1`, 0 is its first parameter and
    not the group of `conv1/0`.
    """
    parts = name.split("/")
    plain = all(part and part != "." for part in parts) and not {"%", "\0"} & set(name)
    met = any(parts[k].isdigit() and "/".join(parts[:k]) in others for k in range(1, len(parts)))
    return name if plain and not met else encoded(name)


def encoded(name: str) -> str:
    """The name without / and other special characters; `decoded` turns it back."""
    found = quote(name, safe=" ")
    return "%2E" if found == "." else found


def decoded(name: str) -> str:
    """The name that was stored as this."""
    return unquote(name)
