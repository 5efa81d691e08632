"""Functions run by several workers at once, in processes forked from one that has all imported."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

if TYPE_CHECKING:
    from caffe.engine.solving.solver import Solver

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["torch", "caffe.cli", "mnc.training.loop",
                                 "torch.fx.experimental.symbolic_shapes"])


HUNG = 600      # seconds after which a worker has not been slow, but hangs


def meeting_place() -> dist.TCPStore:
    """Where workers meet, in this process: a port that is bound from the start is nobody else's by then."""
    return dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


def place_of(store: dist.TCPStore, rank: int, count: int) -> dict[str, str]:
    """The environment of one of those that meet there, as torchrun gives it."""
    return {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port),
            "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}


def run_workers(count: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `function(*arguments)` returns in each of so many workers; AssertionError if one fails."""
    results = outcomes(count, function, *arguments)
    failed = [text for good, text in results if not good]
    assert not failed, "\n".join(failed)
    return [value for _, value in results]


def outcomes(count: int, function: Callable[..., Any], *arguments: Any,
             stderr: Path | None = None) -> list[tuple[bool, Any]]:
    """(True, what it returns) or (False, why not) of each worker; their stderr goes to that file."""
    store = meeting_place()
    pipes, processes = [], []
    for rank in range(count):
        here, there = _context.Pipe(duplex=False)
        process = _context.Process(
            target=_work, args=(there, place_of(store, rank, count), stderr, function, arguments))
        process.start()
        there.close()
        pipes.append(here)
        processes.append(process)
    try:
        return [_received(pipe) for pipe in pipes]
    finally:
        for process in processes:
            process.join(5)
            process.kill()


def exchanges(solver: Solver) -> list[Any]:
    """The two by which workers talk while they train it."""
    return [group._get_backend(torch.device("cpu"))
            for group in (solver.workers.group, solver.workers.gradients)]


def wait_only(seconds: float, solver: Solver) -> None:
    """From now on, as Sharing(limit=seconds) would have it of the whole training."""
    for each in exchanges(solver):
        each._set_default_timeout(timedelta(seconds=seconds))


def _received(pipe: Any) -> tuple[bool, Any]:
    try:
        return pipe.recv() if pipe.poll(HUNG) else (False, "a worker gave no answer in time")
    except EOFError:
        return False, "a worker died"


def _work(pipe: Any, place: dict[str, str], stderr: Path | None,
          function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    os.environ.update(place)
    torch.set_num_threads(1)
    if stderr:
        os.dup2(os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    try:
        pipe.send((True, function(*arguments)))
    except BaseException:
        pipe.send((False, f"worker {place['RANK']}: {traceback.format_exc()}"))
