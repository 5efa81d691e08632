"""The one loop that waits for somebody else: a thread that reads, a disk that may hang.

It never waits in silence for ever: it says what it waits for, notices that nobody is left to wait
for, and gives way to a request to stop.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from caffe.engine import log
from caffe.engine.errors import CaffeError

T = TypeVar("T")

REPORT_AFTER = 30.0     # seconds; then at double that, and so on
GRACE = 2.0             # seconds that a request to stop leaves for what is nearly there
PIECE = 0.2             # seconds between two looks

stop_requested = threading.Event()      # by a signal; the solver looks between iterations


class Interrupted(CaffeError):
    """A stop was asked for while something did not come."""


def wait_for(poll: Callable[[float], T | None], what: Callable[[], str],
             alive: Callable[[], bool]) -> T:
    """The first result of `poll(seconds)` that is not None.

    what: names what is waited for. alive: whether somebody still works on it. Raises CaffeError
    if nobody does, Interrupted if a stop is asked for meanwhile.
    """
    began, report = time.monotonic(), REPORT_AFTER
    while True:
        somebody = alive()
        result = poll(PIECE if somebody else 0)
        if result is not None:
            return result
        waited = time.monotonic() - began
        if not somebody:
            raise CaffeError(f"{what()}: the thread that read it is gone; threads do not follow "
                             f"a process into its fork: begin reading after it")
        if stop_requested.is_set() and waited > GRACE:
            raise Interrupted(f"stopped while waiting for {what()}")
        if waited > report:
            log.warning("Waiting for %s since %.0f s: a hung disk or network, a pipe that nobody "
                        "writes to?", what(), waited)
            report *= 2
