"""Key-value databases of records: LMDB (read by ourselves) and LevelDB (by plyvel)."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from typing import ClassVar, Protocol

from caffe.data.lmdb_file import LmdbFile
from caffe.engine.optional import need


class Database(Protocol):
    """Records in the order of their keys."""

    def values(self, first: int = 0) -> Iterator[bytes]:
        """The records from number `first` on, once."""


def open_database(path: str, *, leveldb: bool) -> Database:
    """Open the database at `path` for reading; ValueError or OSError if that cannot be.

    FileNotFoundError where there is none.
    """
    if not os.path.exists(path):
        raise FileNotFoundError(f'no database at "{path}"')
    return LevelDb.shared(path) if leveldb else LmdbFile(path)


class LevelDb:
    """A LevelDB. A process may open one only once: `shared` gives out what is open already."""

    _open: ClassVar[weakref.WeakValueDictionary[str, LevelDb]] = weakref.WeakValueDictionary()
    _lock = threading.Lock()

    def __init__(self, path: str) -> None:
        self.path = path
        self._plyvel = need("plyvel", package="plyvel", feature="backend LEVELDB")
        try:
            self._db = self._plyvel.DB(path)
        except self._plyvel.Error as error:
            raise ValueError(f"{path}: cannot be opened as a LevelDB: {error}") from error

    @classmethod
    def shared(cls, path: str) -> LevelDb:
        key = os.path.realpath(path)
        with cls._lock:
            database = cls._open.get(key)
            if database is None:
                database = cls._open[key] = cls(path)
            return database

    def values(self, first: int = 0) -> Iterator[bytes]:
        """The values from the one numbered `first` on. Raises ValueError where the file is damaged.
        """
        try:
            with self._db.iterator(include_key=False, verify_checksums=True) as records:
                for number, value in enumerate(records):
                    if number >= first:
                        yield value
        except self._plyvel.Error as error:
            raise ValueError(f"{self.path}: damaged LevelDB: {error}") from error
