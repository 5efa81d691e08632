"""One training a prefix: two would overwrite each other's snapshots."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from caffe.engine import log
from caffe.engine.errors import CaffeError
from caffe.engine.formats.atomic_file import remove_leftovers

try:
    import fcntl
except ImportError:             # Windows has none: no lock there
    fcntl = None                # type: ignore[assignment]


@contextmanager
def locked(prefix: str | os.PathLike[str]) -> Iterator[None]:
    """While the block runs, no other process trains with this snapshot prefix.

    The lock is the system's, on the file `.NAME.lock` beside the snapshots: it ends with the
    process, however that ends. Temporary files that dead trainings left are removed. Raises
    CaffeError, naming process and machine, if another training holds it.
    """
    folder, name = Path(prefix).parent, Path(prefix).name
    descriptor = _acquire(folder / f".{name}.lock", prefix)
    for path in remove_leftovers(folder, f"{name}_"):
        log.info("Removed %s, left by a training that died while writing", path)
    try:
        yield
    finally:
        if descriptor is not None:
            with suppress(OSError):
                (folder / f".{name}.lock").unlink()
            os.close(descriptor)


def _acquire(path: Path, prefix: str | os.PathLike[str]) -> int | None:
    """The open lock file; None where files cannot be locked."""
    if fcntl is None:
        return None
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:        # said when the folder is checked, with what it is for
            log.warning("No lock for %s: %s", prefix, error)
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise CaffeError(f"{prefix}: another training writes these snapshots: {holder}; choose "
                             f"another prefix or folder, or --no-lock") from None
        except OSError as error:        # a file system without locks
            os.close(descriptor)
            log.warning("No lock for %s: %s", prefix, error)
            return None
        if _is_at(path, descriptor):
            _sign(descriptor)
            return descriptor
        os.close(descriptor)            # its last holder has removed it meanwhile


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except OSError:
        return False


def _sign(descriptor: int) -> None:
    about = {"pid": os.getpid(), "host": socket.gethostname(),
             "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    with suppress(OSError):             # a full disk: the lock holds without the words
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(about).encode(), 0)


def _holder(descriptor: int) -> str:
    try:
        about = json.loads(os.pread(descriptor, 1000, 0))
        return f"process {about['pid']} on {about['host']}, since {about['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "a process that has not said its name"
