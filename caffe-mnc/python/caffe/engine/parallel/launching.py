"""One command becomes several workers on this machine, with the environment that torchrun gives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from caffe.engine import log
from caffe.engine.parallel import faults

ORDERLY = 15.0      # seconds in which the others end by themselves when one has failed
ABRUPT = 5.0        # seconds that SIGTERM leaves them after that
LOOK = 0.1          # seconds between two looks


def start(count: int, command: Sequence[str] | None = None) -> int:
    """Run `count` workers to their end; returns the exit status: of the first that failed, or 0.

    command: by default the present one again, with the interpreter and all. SIGINT, SIGTERM and
    SIGHUP of this process go on to the workers. Where one fails the others end within seconds.
    """
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False,
                          timeout=timedelta(minutes=5))
    words = [*(command or sys.orig_argv)]
    sys.stdout.flush()
    workers = [subprocess.Popen(words, env=_environment(rank, count, store.port),
                                start_new_session=True) for rank in range(count)]
    try:
        with _handing_on(workers) as asked:
            ended = _wait_for_all(workers)
    finally:
        _end(workers)
    failed = next((_status(each) for each in workers if each.returncode), 0)
    if failed and not asked:
        followers = faults.ended_for_others(store, count)
        first = next((k for k in ended if k not in followers), ended[0])
        _tell(workers, first)
        failed = _status(workers[first]) or failed
    return failed


def _environment(rank: int, count: int, port: int) -> dict[str, str]:
    """Of worker `rank`: as torchrun's, which hosts the store in its own process, too."""
    threads = max(1, (os.cpu_count() or 1) // count)
    return {"OMP_NUM_THREADS": str(threads), **os.environ,
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count),
            "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
            "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}


def _wait_for_all(workers: Sequence[subprocess.Popen[Any]]) -> list[int]:
    """Until all have ended, or one has failed and its time is over; which have, in their order."""
    ended, end = list[int](), float("inf")
    while len(ended) < len(workers) and time.monotonic() < end:
        time.sleep(LOOK)
        ended += [k for k, each in enumerate(workers)
                  if k not in ended and each.poll() is not None]
        if end == float("inf") and any(workers[k].returncode for k in ended):
            end = time.monotonic() + ORDERLY
    return ended


def _end(workers: Sequence[subprocess.Popen[Any]]) -> None:
    """Whoever is left: SIGTERM, then SIGKILL."""
    for each in workers:
        each.terminate()
    end = time.monotonic() + ABRUPT
    for each in workers:
        with suppress(subprocess.TimeoutExpired):
            each.wait(max(0.0, end - time.monotonic()))
        each.kill()
        each.wait()


def _status(worker: subprocess.Popen[Any]) -> int:
    """As a shell says it."""
    return worker.returncode if worker.returncode >= 0 else 128 - worker.returncode


def _tell(workers: Sequence[subprocess.Popen[Any]], first: int) -> None:
    status = workers[first].returncode
    how = f"ended with status {status}" if status >= 0 else \
        f"was killed by {signal.Signals(-status).name}"
    log.error("Worker %d of %d (process %d) %s; the others have ended, too", first, len(workers),
              workers[first].pid, how)


@contextmanager
def _handing_on(workers: Sequence[subprocess.Popen[Any]]) -> Iterator[list[int]]:
    """Signals go on to the workers; SIGHUP, which asks for a snapshot, to the first. Gives those
    that asked to end."""
    asked: list[int] = []

    def hand_on(number: int, frame: object) -> None:
        for each in workers[:1] if number == signal.SIGHUP else workers:
            if each.poll() is None:
                each.send_signal(number)
        if number != signal.SIGHUP:
            asked.append(number)

    before = {number: signal.signal(number, hand_on)
              for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
