"""MATLAB files (level 5: -v6 and -v7) of arrays of numbers, cells and structures: a bounded reader.

Ours and not scipy's, whose compiled reader crashes on damaged files; a process of its own for each
file would cost more than the reading. Every size is checked against what is left before memory is
taken. Other types (text, sparse maps, objects) are passed over.
"""

from __future__ import annotations

import math
import os
import struct
import zlib
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np

from mnc.data.dataset import DataError

HEADER = 128                    # bytes
MOST_BYTES = 2**28              # of one variable, decompressed
MOST_ARRAYS = 1_000_000         # cells and fields in one variable
DEEPEST = 16                    # cells in cells

MATRIX, COMPRESSED = 14, 15     # types of elements; numbers:
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8",
           13: "u8"}
CELL, STRUCT = 1, 2             # classes of arrays; 6 to 15 hold numbers
COMPLEX = 0x08                  # a flag

Value = Any                     # ndarray; of objects for cells; list of dicts for structures


class _Damaged(Exception):
    """What is wrong with the bytes"""


def read_mat(path: str | os.PathLike, names: Collection[str]) -> dict[str, Value]:
    """{name: value} of the variables of these names that the file has.

    Numbers are an array (H, W, ...) in the type they are stored in; cells an array of values; a
    structure, or an array of them, is a list of dicts; what is passed over is None. DataError
    where the file is damaged, of another level or too large.
    """
    with open(path, "rb") as file:
        content = file.read()
    try:
        return dict(_variables(content, names))
    except _Damaged as error:
        raise DataError(f"{path}: not a readable MATLAB file ({error})") from None


def is_numbers(value: Value) -> bool:
    """Whether it is an array of finite numbers."""
    return isinstance(value, np.ndarray) and value.dtype != object and bool(
        np.isfinite(value).all())


def _variables(content: bytes, names: Collection[str]) -> Iterator[tuple[str, Value]]:
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if order is None:
        raise _Damaged("no header of level 5; save it with -v7")
    if struct.unpack(f"{order}H", content[124:126])[0] != 0x0100:
        raise _Damaged("of level 7.3, which is HDF5; save it with -v7")
    file = _Bytes(memoryview(content), order, HEADER)
    while file.left:
        kind, body = file.element()
        if kind == COMPRESSED:
            kind, body = _Bytes(memoryview(_decompressed(body)), order).element()
        if kind != MATRIX:
            raise _Damaged(f"an element of type {kind} where a variable should be")
        matrix = _Matrix(_Bytes(body, order))
        if matrix.name in names:
            yield matrix.name, matrix.value(_Budget(), 0)


def _decompressed(body: memoryview) -> bytes:
    stream = zlib.decompressobj()
    try:
        found = stream.decompress(body, MOST_BYTES)
    except zlib.error as error:
        raise _Damaged(str(error)) from None
    if stream.unconsumed_tail:
        raise _Damaged(f"a variable of more than {MOST_BYTES} bytes")
    return found


class _Budget:
    """How many arrays may still come."""

    def __init__(self) -> None:
        self.left = MOST_ARRAYS

    def take(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise _Damaged(f"more than {MOST_ARRAYS} cells or fields")


class _Bytes:
    """Elements one after the other: type, size and content each."""

    def __init__(self, content: memoryview, order: str, place: int = 0) -> None:
        self.content, self.order, self.place = content, order, place

    @property
    def left(self) -> int:
        return len(self.content) - self.place

    def element(self) -> tuple[int, memoryview]:
        """(type, content) of the next element."""
        kind, size = struct.unpack(f"{self.order}II", self._take(8))
        if kind >> 16:                                          # up to four bytes, in the tag
            kind, size = kind & 0xffff, kind >> 16
            if size > 4:
                raise _Damaged(f"a short element of {size} bytes")
            return kind, self.content[self.place - 4:self.place - 4 + size]
        body = self._take(size)
        if kind != COMPRESSED:
            self.place = min(self.place + -size % 8, len(self.content))
        return kind, body

    def _take(self, size: int) -> memoryview:
        if size > self.left:
            raise _Damaged(f"it ends where {size} bytes should follow")
        self.place += size
        return self.content[self.place - size:self.place]

    def numbers(self) -> np.ndarray:
        """(n,) of the next element."""
        kind, body = self.element()
        if kind not in NUMBERS:
            raise _Damaged(f"an element of type {kind} where numbers should be")
        dtype = np.dtype(self.order + NUMBERS[kind])
        return np.frombuffer(body, dtype, len(body) // dtype.itemsize)


class _Matrix:
    """An array: its header, and its value when asked for."""

    def __init__(self, content: _Bytes) -> None:
        self.content = content
        flags = content.numbers()
        if not len(flags):
            raise _Damaged("an array without a class")
        self.kind, self.is_complex = int(flags[0]) & 0xff, bool(int(flags[0]) >> 8 & COMPLEX)
        self.shape = [int(n) for n in content.numbers()]
        if not 2 <= len(self.shape) <= 32 or min(self.shape) < 0:
            raise _Damaged(f"an array of the shape {self.shape}")
        self.name = bytes(content.element()[1]).decode("latin-1")

    def value(self, budget: _Budget, depth: int) -> Value:
        if depth > DEEPEST:
            raise _Damaged(f"more than {DEEPEST} arrays in each other")
        if self.kind == CELL:
            return self._cells(budget, depth)
        if self.kind == STRUCT:
            return self._structures(budget, depth)
        return self._numbers() if 6 <= self.kind <= 15 else None

    def _numbers(self) -> np.ndarray:
        if self.is_complex:
            raise _Damaged(f"{self.name or 'an array'} of complex numbers")
        found = self.content.numbers()
        if len(found) != math.prod(self.shape):
            raise _Damaged(f"{len(found)} values for the shape {self.shape}")
        return found.astype(found.dtype.newbyteorder("=")).reshape(self.shape, order="F")

    def _cells(self, budget: _Budget, depth: int) -> np.ndarray:
        count = math.prod(self.shape)
        budget.take(count)
        cells = np.empty(count, object)
        for k in range(count):
            cells[k] = self._next(budget, depth)
        return cells.reshape(self.shape, order="F")

    def _structures(self, budget: _Budget, depth: int) -> list[dict[str, Value]]:
        length = self.content.numbers()
        names = bytes(self.content.element()[1])
        if len(length) != 1 or length[0] < 1 or len(names) % int(length[0]):
            raise _Damaged("a structure without names of fields")
        step = int(length[0])
        fields = [names[k:k + step].partition(b"\0")[0].decode("latin-1")
                  for k in range(0, len(names), step)]
        count = math.prod(self.shape)
        budget.take(count * max(1, len(fields)))
        return [{name: self._next(budget, depth) for name in fields} for _ in range(count)]

    def _next(self, budget: _Budget, depth: int) -> Value:
        kind, body = self.content.element()
        if kind != MATRIX:
            raise _Damaged(f"an element of type {kind} where an array should be")
        if not len(body):
            return np.empty((0, 0))
        return _Matrix(_Bytes(body, self.content.order)).value(budget, depth + 1)
