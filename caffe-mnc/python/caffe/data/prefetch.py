"""A thread that works ahead."""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Iterator
from typing import Any


class Prefetch:
    """Takes from `source` in a thread, up to `depth` items ahead of `next()`.

    An error of the source comes out of `next()`, and again each time after. The thread ends with
    `close()`, or when nobody holds this object any more; `source` must not refer to it.
    """

    def __init__(self, source: Iterator[Any], depth: int, name: str) -> None:
        self._ready: queue.SimpleQueue = queue.SimpleQueue()
        self._free = threading.Semaphore(depth)
        self._error: BaseException | None = None
        stop = threading.Event()
        self._thread = threading.Thread(target=_produce, name=f"prefetch {name}", daemon=True,
                                        args=(source, self._ready, self._free, stop))
        # Only told to end, not waited for: the collector may run at any moment, with any lock held.
        self._stop = weakref.finalize(self, _end, stop, self._free)
        self._thread.start()

    def next(self) -> Any:
        """The next item; waits for it if it is not made yet."""
        if self._error is None:
            item = self._ready.get()
            self._free.release()
            if not isinstance(item, BaseException):
                return item
            self._error = item
        raise self._error

    def close(self) -> None:
        """End the thread and wait until it has ended."""
        self._stop()
        self._thread.join()


def _produce(source: Iterator[Any], ready: queue.SimpleQueue, free: threading.Semaphore,
             stop: threading.Event) -> None:
    try:
        while True:
            free.acquire()
            if stop.is_set():
                return
            ready.put(next(source))
    except BaseException as error:      # whatever it is, it is the consumer's
        ready.put(error)


def _end(stop: threading.Event, free: threading.Semaphore) -> None:
    stop.set()
    free.release()
