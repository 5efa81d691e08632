"""Signals while a solver trains: what they ask for, and a second SIGINT that ends it at once."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from caffe.engine import log, waiting

if TYPE_CHECKING:
    from caffe.engine.solving.solver import Solver

EFFECTS = {"stop": "stop_requested", "snapshot": "snapshot_requested", "none": None}
ECHO = 1.0          # seconds in which torchrun may repeat a terminal's SIGINT to its workers
PATIENCE = 0.7      # seconds that a second SIGINT leaves for an orderly end


@contextmanager
def signals(solver: Solver, **effects: str) -> Iterator[None]:
    """While the block runs, each signal does to `solver` what its effect says.

    The solver looks after every iteration, and where it waits for data. A second SIGINT after one
    that asked to stop raises KeyboardInterrupt, and ends the process within a second even inside
    an operation that does not return. Outside the main thread Python allows no handlers: then
    signals stay as they are.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting.stop_requested.clear()
    before: dict[int, Any] = {}
    for name, effect in effects.items():
        if hasattr(signal, name):                                   # Windows has no SIGHUP
            number = getattr(signal, name)
            before[number] = signal.signal(number, _handler(solver, EFFECTS[effect]))
    try:
        with _watched(solver, stops=EFFECTS[effects.get("SIGINT", "none")] == "stop_requested"):
            yield
    except KeyboardInterrupt:
        log.warning("%s", _ended(solver))
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        waiting.stop_requested.clear()


def _handler(solver: Solver, attribute: str | None) -> Callable[[int, Any], None]:
    since = float("-inf")

    def handle(number: int, frame: Any) -> None:
        nonlocal since
        if attribute == "stop_requested":
            if number == signal.SIGINT and solver.stopped_by == number:
                if _is_echo(solver, since):
                    return
                raise KeyboardInterrupt
            solver.stopped_by, since = number, time.monotonic()
            waiting.stop_requested.set()
            _say(f"{signal.Signals(number).name}: stopping after this iteration, with a snapshot"
                 + "; once more: at once" * (number == signal.SIGINT))
        if attribute:
            setattr(solver, attribute, True)
    return handle


def _is_echo(solver: Solver, since: float) -> bool:
    return solver.workers.count > 1 and time.monotonic() - since < ECHO


def _say(text: str) -> None:
    """To stderr itself: a handler may interrupt a write to the log."""
    os.write(2, f"{text}\n".encode())


def _ended(solver: Solver) -> str:
    kept = f"the last snapshot is {solver.last_snapshot}" if solver.last_snapshot \
        else "there is no snapshot of it"
    return f"Training ended at once in iteration {solver.iter}: {kept}"


@contextmanager
def _watched(solver: Solver, stops: bool) -> Iterator[None]:
    """Python runs handlers only between its own steps: a thread sees to the second SIGINT."""
    if not stops:
        yield
        return
    ended = threading.Event()
    listening, telling = socket.socketpair()
    telling.setblocking(False)
    before = signal.set_wakeup_fd(telling.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=_watch, args=(listening, ended, solver), daemon=True,
                              name="second SIGINT")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        signal.set_wakeup_fd(before)
        telling.close()
        thread.join(timeout=5)
        listening.close()


def _watch(listening: socket.socket, ended: threading.Event, solver: Solver) -> None:
    count, since = 0, time.monotonic()
    while numbers := listening.recv(64):
        if count and _is_echo(solver, since):
            continue
        since = since if count else time.monotonic()
        count += numbers.count(signal.SIGINT)
        if count >= 2 and not ended.wait(PATIENCE):
            _say(_ended(solver))
            os._exit(128 + signal.SIGINT)
