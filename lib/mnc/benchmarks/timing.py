"""Seconds of pieces of work that take turns."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

Clock = Callable[[], float]


def seconds(work: Callable[[], object], clock: Clock = time.perf_counter) -> float:
    """One run of `work`, the GPU's part included."""
    wait()
    start = clock()
    work()
    wait()
    return clock() - start


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def take_turns(works: dict[str, Callable[[], object]], repeat: int,
               clock: Clock = time.perf_counter) -> dict[str, list[float]]:
    """Seconds of each work, `repeat` times in turn, after one run of each that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(repeat + 1):
        for name, work in works.items():
            took = seconds(work, clock)
            if turn:
                times[name].append(took)
    return times
