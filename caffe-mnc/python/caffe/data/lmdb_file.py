"""Reading LMDB files page by page, without trusting them.

liblmdb maps a file into memory and follows what it finds there, so that a truncated or damaged one
ends the process. Here every page number, offset and length is checked against the file; what does
not fit is a ValueError. The layout is that of LMDB 0.9 on 64-bit little-endian machines.
Nothing is locked: a database must not be written while it is read.
"""

from __future__ import annotations

import os
import struct
import weakref
from collections.abc import Iterator
from pathlib import Path

MAGIC, VERSION = 0xBEEFC0DE, 1
HEADER = 16                                 # bytes of a page before its content
BRANCH, LEAF, OVERFLOW, META = 1, 2, 4, 8   # kinds of pages
ON_OVERFLOW, DUPLICATES_OR_DATABASE = 1, 6  # flags of a node
NO_PAGE = 2**64 - 1
HIGHEST_TREE = 32                           # LMDB's own limit

_PAGE = struct.Struct("<QHHHH")             # number, unused, kind, end of pointers, begin of nodes
_TREE = struct.Struct("<IHHQQQQQ")          # page size, flags, depth, 3 counts, entries, root
_NODE = struct.Struct("<HHHH")              # size or page (low, high), flags, size of the key


class LmdbFile:
    """The records of an LMDB in the order of their keys; `path` is its folder or its data file."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if self.path.is_dir():
            self.path /= "data.mdb"
        self._file = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self._file)
        self._size = os.fstat(self._file).st_size
        self._page_size, self.entries, self._depth, self._root = self._newest_meta()

    def __len__(self) -> int:
        return self.entries

    def values(self, first: int = 0) -> Iterator[bytes]:
        """The records from number `first` on, once."""
        if self._root == NO_PAGE:
            return
        found = 0
        visits = iter(range(self._size // self._page_size))     # no page is met twice
        for page in self._leaves(self._root, self._depth, visits):
            nodes = self._nodes(page)
            skipped = min(max(0, first - found), len(nodes))
            found += len(nodes)
            for at in nodes[skipped:]:
                yield self._value(page, at)
        if found != self.entries:
            raise self._damaged(f"{found} records, but {self.entries} announced")

    # --- pages ------------------------------------------------------------------------------

    def _newest_meta(self) -> tuple[int, int, int, int]:
        """(page size, entries, depth, root) of the later of the two meta pages."""
        first = self._read_meta(0)
        size = first[1] if first else 0
        if not first or size < 512 or size & (size - 1):
            raise ValueError(f"{self.path}: not an LMDB database, or damaged")
        second = self._read_meta(size)
        if not second:
            raise self._damaged("it has no second meta page")
        _, _, depth, entries, root = max(first, second)
        return size, entries, min(depth, HIGHEST_TREE), root

    def _read_meta(self, offset: int) -> tuple[int, ...] | None:
        """(transaction, page size, depth, entries, root), or None if there is no meta page."""
        content = os.pread(self._file, HEADER + 24 + 2 * _TREE.size + 16, offset)
        if len(content) < HEADER + 24 + 2 * _TREE.size + 16:
            return None
        magic, version = struct.unpack_from("<II", content, HEADER)
        if (magic, version) != (MAGIC, VERSION):
            return None
        free = _TREE.unpack_from(content, HEADER + 24)
        main = _TREE.unpack_from(content, HEADER + 24 + _TREE.size)
        _, transaction = struct.unpack_from("<QQ", content, HEADER + 24 + 2 * _TREE.size)
        return transaction, free[0], main[2], main[6], main[7]

    def _read(self, offset: int, count: int) -> bytes:
        if offset + count > self._size:
            raise self._damaged(f"{self._size} bytes long, but byte {offset + count} is needed")
        return os.pread(self._file, count, offset)

    def _page(self, number: int, kinds: int) -> bytes:
        page = self._read(number * self._page_size, self._page_size)
        stored, _, kind, lower, _ = _PAGE.unpack_from(page)
        if stored != number or not kind & kinds or not HEADER <= lower <= self._page_size:
            raise self._damaged(f"page {number} is not what it should be")
        return page

    def _leaves(self, number: int, depth: int, visits: Iterator[int]) -> Iterator[bytes]:
        """The leaf pages below page `number`, which is `depth` levels high."""
        if depth < 1 or next(visits, None) is None:
            raise self._damaged("its tree is higher or wider than announced")
        page = self._page(number, BRANCH | LEAF)
        if _PAGE.unpack_from(page)[2] & LEAF:
            yield page
            return
        for at in self._nodes(page):
            low, high, top, _ = self._node(page, at)
            yield from self._leaves(low | high << 16 | top << 32, depth - 1, visits)

    def _nodes(self, page: bytes) -> tuple[int, ...]:
        """Where the nodes of a page begin."""
        count = (_PAGE.unpack_from(page)[3] - HEADER) // 2
        return struct.unpack_from(f"<{count}H", page, HEADER)

    def _node(self, page: bytes, at: int) -> tuple[int, ...]:
        if at + _NODE.size > len(page):
            raise self._damaged("a node lies outside its page")
        return _NODE.unpack_from(page, at)

    def _value(self, page: bytes, at: int) -> bytes:
        low, high, flags, key_size = self._node(page, at)
        size, start = low | high << 16, at + _NODE.size + key_size
        if flags & DUPLICATES_OR_DATABASE:
            raise ValueError(f"{self.path}: holds databases or duplicate keys, not plain records")
        end = start + (8 if flags & ON_OVERFLOW else size)
        if end > len(page):
            raise self._damaged("a record lies outside its page")
        if not flags & ON_OVERFLOW:
            return page[start:end]
        number, = struct.unpack_from("<Q", page, start)
        self._page_of_overflow(number)
        return self._read(number * self._page_size + HEADER, size)

    def _page_of_overflow(self, number: int) -> None:
        stored, _, kind, _, _ = _PAGE.unpack(self._read(number * self._page_size, HEADER))
        if stored != number or not kind & OVERFLOW:
            raise self._damaged(f"page {number} is not what it should be")

    def _damaged(self, what: str) -> ValueError:
        return ValueError(f"{self.path}: damaged or truncated LMDB: {what}")
