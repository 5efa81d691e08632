"""Which worker it was: one that failed, died or hangs is named at the others, with its traceback.

Each worker leaves its process number in the store where they met, and its error if it ends by one.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist

from caffe.engine import log
from caffe.engine.errors import CaffeError

TO_ANSWER = 5.0     # seconds that the others have to leave word
TO_TELL = 1.0       # seconds that a hanging worker has to write its traceback


class Lost(CaffeError):
    """Another worker has failed, died or hangs: this one cannot go on."""


def of_this_attempt(store: Any) -> Any:
    """Its part for the workers that torchrun has started last: it has the words of all."""
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return dist.PrefixStore(f"attempt {attempt}", store)


def ended_for_others(store: Any, count: int) -> list[int]:
    """The workers that only ended because another did, as far as they have left word."""
    place = dist.PrefixStore("faults", of_this_attempt(store))
    return [rank for rank in range(count) if place.check([f"lost/{rank}"])]


class Watch:
    """What one worker knows of the others, by the store."""

    def __init__(self, store: Any, rank: int, count: int) -> None:
        self.store, self.rank, self.count = dist.PrefixStore("faults", store), rank, count
        self.host = socket.gethostname()
        self.store.set(f"who/{rank}", json.dumps({"pid": os.getpid(), "host": self.host}))

    def leave_word(self, error: BaseException) -> None:
        """Tell the log and the others what ends this worker; the log once, if all say the same."""
        text = "".join(traceback.format_exception_only(error)).strip()
        said = 0
        with suppress(Exception):
            self.store.set(f"error/{self.rank}", text)
            said = self.store.add(f"said/{text}", 1)
        if said <= 1:
            log.error("%s ends by an error:\n%s", self.name(self.rank), "".join(
                traceback.format_exception(error)).rstrip())
            _say_no_more_of(error)

    def leave_word_of_loss(self) -> None:
        """Tell whoever has started this worker that it ends because of another."""
        with suppress(Exception):
            self.store.set(f"lost/{self.rank}", "")

    def name(self, rank: int) -> str:
        """Worker 1 (process 4711 on host)"""
        who = self._who(rank)
        return f"worker {rank}" + (f" (process {who['pid']} on {who['host']})" if who else "")

    def cause(self, error: BaseException) -> str:
        """What has happened to whom, as far as it can be found out in some seconds."""
        with suppress(Exception):
            self.store.set_timeout(timedelta(seconds=TO_ANSWER))
            if "timed out" in str(error).lower():
                return self._hanging()
            return self._within(TO_ANSWER, lambda: self._failed() or self._gone()) \
                or f"the connection to the others is lost: {_first_line(error)}"
        return f"the others do not answer: {_first_line(error)}"

    def _failed(self) -> str:
        return "; ".join(f"{self.name(r)} failed: {self.store.get(f'error/{r}').decode()}"
                         for r in self._others() if self.store.check([f"error/{r}"]))

    def _gone(self) -> str:
        gone = [r for r in self._others() if self._is_here(r) and not _lives(self._who(r)["pid"])]
        return "; ".join(f"{self.name(r)} has died" for r in gone)

    def _hanging(self) -> str:
        """Those that do not leave word, as all do who wait; on this machine they are ended."""
        self.store.set(f"waiting/{self.rank}", "")
        silent = self._others()

        def all_answered() -> bool:
            silent[:] = [r for r in silent if not self.store.check([f"waiting/{r}"])]
            return not silent

        self._within(TO_ANSWER, all_answered)
        waiting = [r for r in range(self.count) if r not in silent and self._is_here(r)]
        for r in silent if self.rank == waiting[0] else ():
            if self._is_here(r):
                _end(self._who(r)["pid"])
        names = ", ".join(map(self.name, silent))
        return f"{names} did not come in time: it hangs" if silent else "no worker could go on"

    def _within(self, seconds: float, look: Callable[[], Any]) -> Any:
        end = time.monotonic() + seconds
        while not (found := look()) and time.monotonic() < end:
            time.sleep(0.1)
        return found

    def _others(self) -> list[int]:
        return [r for r in range(self.count) if r != self.rank]

    def _who(self, rank: int) -> Any:
        with suppress(Exception):
            if self.store.check([f"who/{rank}"]):
                return json.loads(self.store.get(f"who/{rank}"))
        return None

    def _is_here(self, rank: int) -> bool:
        who = self._who(rank)
        return bool(who) and who["host"] == self.host


_watch: Watch | None = None


def watch(store: Any, rank: int, count: int) -> Watch:
    """From now on this process is worker `rank` to the others, and tells where it hangs."""
    global _watch
    _watch = Watch(store, rank, count)
    with suppress(AttributeError, ValueError, OSError):     # Windows has no such signal
        faulthandler.register(signal.SIGUSR1, 2, all_threads=True)
    return _watch


@contextmanager
def told(store: Any, rank: int, count: int) -> Iterator[None]:
    """An error that ends the block is known to the other workers, and in the log."""
    global _watch
    present = watch(store, rank, count)
    try:
        yield
    except Lost:
        present.leave_word_of_loss()
        raise
    except Exception as error:
        present.leave_word(error)
        raise
    finally:
        _watch = None


@contextmanager
def exchanging(where: str) -> Iterator[None]:
    """Raises Lost, with what has happened to whom, where the workers do not come together."""
    try:
        yield
    except RuntimeError as error:
        if _watch is None:
            raise Lost(f"{where}: {_first_line(error)}") from error
        raise Lost(f"worker {_watch.rank} cannot go on ({where}): {_watch.cause(error)}") from error


def _say_no_more_of(told: BaseException) -> None:
    """The log has its traceback: Python need not print it again where it ends the process."""
    before = sys.excepthook

    def hook(kind: Any, error: BaseException, place: Any) -> None:
        if error is not told:
            before(kind, error, place)

    sys.excepthook = hook


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _lives(process: int) -> bool:
    """Whether there is such a process, other than one that has ended and is not waited for."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    with suppress(PermissionError):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
    return True


def _end(process: int) -> None:
    """A worker that hangs writes its traceback to stderr, if it still can, and is killed."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(process, signal.SIGUSR1)
        time.sleep(TO_TELL)
        os.kill(process, signal.SIGKILL)
