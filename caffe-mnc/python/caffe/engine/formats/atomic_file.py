"""The one writer of files: either whole or not at all.

A process that dies while it writes leaves `.NAME.HOST.PID.tmp`; `remove_leftovers` clears those.
"""

from __future__ import annotations

import os
import re
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

HOST = re.sub(r"[^A-Za-z0-9]+", "-", socket.gethostname()) or "host"
DAY = 24 * 3600
_LEFTOVER = re.compile(r"\..+\.(?P<host>[A-Za-z0-9-]+)\.(?P<pid>\d+)\.tmp")


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A name beside `path` to write to; it becomes `path` when the block ends without an error.

    Whatever was at `path` stays until then, and stays for good if the block fails. A link is
    followed; what is no regular file (a device, a pipe) is written to directly. Raises OSError,
    with the name `path`.
    """
    path = Path(path)
    if _is_special(path):
        yield path
        return
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    temporary = target.with_name(f".{target.name[:150]}.{HOST[:60]}.{os.getpid()}.tmp")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
        _sync_folder(target.parent)
    except OSError as error:
        if error.errno and error.filename in (None, str(temporary)):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_file(path: str | os.PathLike[str], *parts: bytes | memoryview) -> None:
    """Make `path` a file of these bytes, all or nothing."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        for part in parts:
            file.write(part)


def remove_leftovers(folder: Path, beginning: str = "") -> list[Path]:
    """Remove temporary files of dead processes for names that begin so; returns what went.

    Of other machines, whose processes cannot be asked for, those older than a day.
    """
    removed = []
    with suppress(OSError):
        for path in folder.iterdir():
            found = _LEFTOVER.fullmatch(path.name)
            if not found or not path.name.startswith(f".{beginning}"):
                continue
            if _is_left(path, found["host"], int(found["pid"])):
                with suppress(OSError):
                    path.unlink()
                    removed.append(path)
    return removed


def _is_left(path: Path, host: str, pid: int) -> bool:
    if host != HOST[:60] or os.name == "nt":        # there kill(pid, 0) is Ctrl-C
        return time.time() - path.stat().st_mtime > DAY
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False            # another user's
    return False


def _is_special(path: Path) -> bool:
    """No regular file, or a name of an open one: /dev/stdout may lead to a file somebody writes."""
    with suppress(OSError):
        if not stat.S_ISREG(path.stat().st_mode):
            return True
    return str(path.parent) in ("/dev", "/dev/fd", "/proc/self/fd")


def _sync_folder(folder: Path) -> None:
    """The new name survives a power cut; where folders cannot be synced, it is written later."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
