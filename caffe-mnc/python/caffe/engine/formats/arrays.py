"""Archives of arrays (.npz) and single ones (.npy), checked before memory is taken.

numpy believes what a header says: one of a hundred bytes can ask for all memory, and a damaged one
ends in whatever its parser meets. Here the header must agree with the bytes that are there.
"""

from __future__ import annotations

import io
import math
import os
import zipfile
from typing import IO, Any

import numpy as np

from caffe.engine.memory import memory_limit

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0}
_LONGEST_HEADER = 1 << 16
_HIGHEST_RATIO = 1100           # of deflate: bytes out of one
_LAST_CHARACTER = 0x10FFFF


def read_arrays(source: str | os.PathLike[str] | IO[bytes]) -> dict[str, np.ndarray]:
    """The arrays of an .npz file, by name.

    Raises ValueError if it is another or a damaged file, or holds objects (pickles); OSError.

    Shapes are those in the file.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            return {member.filename.removesuffix(".npy"): _member(archive, member)
                    for member in archive.infolist()}
    except OSError as error:
        if error.errno:
            raise
        raise ValueError(f"not an archive of arrays: {error}") from error
    except Exception as error:          # zipfile, zlib and the parser of headers raise many kinds
        raise ValueError(f"not an archive of arrays, or damaged: {error}") from error


def read_array(path: str | os.PathLike[str]) -> np.ndarray:
    """The array of an .npy file. Raises ValueError if it is another or a damaged file; OSError.

    Its shape is that in the file.
    """
    with open(path, "rb") as file:
        content = file.read()
    try:
        return _array(content)
    except Exception as error:          # as above
        raise ValueError(f"not an array, or damaged: {error}") from error


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    if member.file_size > _HIGHEST_RATIO * (member.compress_size + 1):
        raise ValueError(f"{member.filename}: {member.compress_size} bytes cannot be "
                         f"{member.file_size}")
    if member.file_size > memory_limit():
        raise ValueError(f"{member.filename}: {member.file_size} bytes are more than the limit of "
                         "memory (caffe.set_memory_limit)")
    with archive.open(member) as file:
        shape, _, dtype, start = _header(file.read(_LONGEST_HEADER))
        _check_size(shape, dtype, member.file_size - start)
    return _array(archive.read(member))


def _array(content: bytes) -> np.ndarray:
    shape, fortran, dtype, start = _header(content[:_LONGEST_HEADER])
    _check_size(shape, dtype, len(content) - start)
    if dtype.kind == "U" and _beyond_unicode(content[start:], dtype):
        raise ValueError("text with characters that do not exist")
    values = np.frombuffer(content, dtype, math.prod(shape), start) if math.prod(shape) \
        else np.empty(0, dtype)
    return values.reshape(shape, order="F" if fortran else "C").copy()


def _header(content: bytes) -> tuple[tuple[int, ...], bool, Any, int]:
    """(shape, Fortran order, dtype, where the values start)"""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"version {version} of .npy")
    shape, fortran, dtype = _HEADERS[version](file)
    if dtype.hasobject or not dtype.itemsize:
        raise ValueError("holds objects, not numbers or text")
    return shape, fortran, dtype, file.tell()


def _check_size(shape: tuple[int, ...], dtype: Any, size: int) -> None:
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != size:
        raise ValueError(f"{size} bytes for an array of shape {shape} and type {dtype}")


def _beyond_unicode(content: bytes, dtype: Any) -> bool:
    characters = np.frombuffer(content, np.dtype("u4").newbyteorder(dtype.byteorder))
    return bool((characters > _LAST_CHARACTER).any())
