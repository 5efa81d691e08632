"""Threads that work ahead. Nobody waits for them in silence or for ever (engine/waiting.py)."""

from __future__ import annotations

import os
import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from caffe.engine import log
from caffe.engine.waiting import PIECE, wait_for

TO_END = 5.0        # seconds that close() leaves a thread


class Job:
    """`function()` in a thread of its own; `result()` gives what it returned or raises its error.

    what: names it where it is waited for.
    """

    def __init__(self, function: Callable[[], Any], what: Callable[[], str]) -> None:
        self._what = what
        self._done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread = _Thread(_run, function, self._done)

    def lost(self) -> bool:
        """Whether its thread stayed behind in a fork, with nothing to give."""
        return not self._thread.works() and self._done.empty()

    def result(self) -> Any:
        """The value, once; waits for it. Raises what the function raised."""
        item = wait_for(self._poll, self._what, self._thread.works)
        if isinstance(item, _Failed):
            raise item.error
        return item.value

    def _poll(self, seconds: float) -> Any:
        return _get(self._done, seconds)


class Prefetch:
    """Takes from `source` in a thread, up to `depth` items ahead of `next()`.

    An error of the source comes out of `next()`, and again each time after. The thread ends with
    `close()`, or when nobody holds this object any more; `source` must not refer to it.
    what: names the source where it is waited for.
    """

    def __init__(self, source: Iterator[Any], depth: int, what: Callable[[], str]) -> None:
        self._what = what
        self._ready: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._free = threading.Semaphore(depth)
        self._error: BaseException | None = None
        stop = threading.Event()
        self._thread = _Thread(_produce, source, self._ready, self._free, stop)
        # Only told to end, not waited for: the collector may run at any moment, with any lock held.
        self._stop = weakref.finalize(self, _end, stop, self._free)

    def next(self) -> Any:
        """The next item; waits for it if it is not made yet.

        Raises what the source raised, CaffeError if the thread is gone (after a fork), Interrupted
        if a stop is asked for while nothing comes.
        """
        if self._error is None:
            item = wait_for(self._poll, self._what, self._thread.works)
            self._free.release()
            if not isinstance(item, _Failed):
                return item.value
            self._error = item.error
        raise self._error

    def _poll(self, seconds: float) -> Any:
        return _get(self._ready, seconds)

    def close(self) -> None:
        """End the thread; one that hangs in its source is left behind, and said."""
        self._stop()
        if not self._thread.ended(TO_END):
            log.warning("Reading %s hangs: its thread is left behind", self._what())


class _Value:
    def __init__(self, value: Any) -> None:
        self.value = value


class _Failed:
    def __init__(self, error: BaseException) -> None:
        self.error = error


class _Thread:
    """A daemon: one that hangs does not keep the process from ending."""

    def __init__(self, function: Callable[..., None], *arguments: Any) -> None:
        self._process = os.getpid()
        self._thread = threading.Thread(target=function, args=arguments, daemon=True,
                                        name="reading ahead")
        self._thread.start()

    def works(self) -> bool:
        return self._process == os.getpid() and self._thread.is_alive()

    def ended(self, seconds: float) -> bool:
        if self._process == os.getpid():
            self._thread.join(seconds)
        return not self.works()


def _get(ready: queue.SimpleQueue[Any], seconds: float) -> Any:
    try:
        return ready.get(timeout=seconds) if seconds else ready.get_nowait()
    except queue.Empty:
        return None


def _run(function: Callable[[], Any], done: queue.SimpleQueue[Any]) -> None:
    try:
        done.put(_Value(function()))
    except BaseException as error:      # whatever it is, it is the caller's
        done.put(_Failed(error))


def _produce(source: Iterator[Any], ready: queue.SimpleQueue[Any], free: threading.Semaphore,
             stop: threading.Event) -> None:
    try:
        while True:
            while not free.acquire(timeout=10 * PIECE):
                if stop.is_set():
                    return
            if stop.is_set():
                return
            ready.put(_Value(next(source)))
    except BaseException as error:      # whatever it is, it is the consumer's
        ready.put(_Failed(error))


def _end(stop: threading.Event, free: threading.Semaphore) -> None:
    stop.set()
    free.release()
