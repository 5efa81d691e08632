"""Writing databases of Datum messages: LMDB and LevelDB folders, as Caffe's tools make them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from caffe.commands.registration import UsageError
from caffe.engine.optional import need
from caffe.engine.registry import Registry

COMMIT_AFTER = 1000         # records a transaction, as in Caffe
FIRST_MAP_SIZE = 1 << 26    # bytes; doubled whenever an LMDB is full

BACKENDS = Registry("database backend", UsageError)     # name -> context manager of a folder

Record = tuple[bytes, bytes]        # key, serialised Datum
Write = Callable[[list[Record]], None]


class Writer:
    """Puts records into a database, some at a time, as they come."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._waiting: list[Record] = []
        self.count = 0

    def put(self, key: str, datum: Any) -> None:
        self._waiting.append((os.fsencode(key), datum.SerializeToString()))
        self.count += 1
        if self.count % COMMIT_AFTER == 0:
            self.commit()

    def commit(self) -> None:
        """Write what waits, all of it or nothing."""
        self._write(self._waiting)
        self._waiting = []


@contextmanager
def create(path: str | os.PathLike[str], backend: str) -> Iterator[Writer]:
    """A new database at `path`, which is there when the block ends without an error, and else not.

    UsageError if there is something at `path` already.
    """
    path = Path(path)
    open_new = BACKENDS.get(backend)
    if path.exists():
        raise UsageError(f"{path} exists already; remove it, or name another database")
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open_new(str(unfinished)) as write:
            writer = Writer(write)
            yield writer
            writer.commit()
        os.replace(unfinished, path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@BACKENDS.register("lmdb")
@contextmanager
def _lmdb(path: str) -> Iterator[Write]:
    lmdb = need("lmdb", package="lmdb", feature="writing an LMDB")
    with lmdb.open(path, map_size=FIRST_MAP_SIZE) as environment:
        def write(batch: list[Record]) -> None:
            while True:
                try:
                    with environment.begin(write=True) as transaction:
                        for key, value in batch:
                            transaction.put(key, value)
                    return
                except lmdb.MapFullError:
                    environment.set_mapsize(2 * environment.info()["map_size"])
        yield write


@BACKENDS.register("leveldb")
@contextmanager
def _leveldb(path: str) -> Iterator[Write]:
    plyvel = need("plyvel", package="plyvel", feature="writing a LevelDB")
    with plyvel.DB(path, create_if_missing=True, error_if_exists=True) as database:
        def write(batch: list[Record]) -> None:
            with database.write_batch(transaction=True) as transaction:
                for key, value in batch:
                    transaction.put(key, value)
        yield write
