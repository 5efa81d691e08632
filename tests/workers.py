"""Functions run by several workers at once, in processes forked from one that has all imported."""

from __future__ import annotations

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["torch", "caffe.cli", "mnc.training.loop",
                                 "torch.fx.experimental.symbolic_shapes"])


def run_workers(count: int, function: Callable[..., Any], *arguments: Any,
                seconds: float = 100) -> list[Any]:
    """What `function(*arguments)` returns in each of so many workers; AssertionError if one fails."""
    results = outcomes(count, function, *arguments, seconds=seconds)
    failed = [text for good, text in results if not good]
    assert not failed, "\n".join(failed)
    return [value for _, value in results]


def outcomes(count: int, function: Callable[..., Any], *arguments: Any,
             seconds: float = 100, stderr: Path | None = None) -> list[tuple[bool, Any]]:
    """(True, what it returns) or (False, why not) of each worker; their stderr goes to that file."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    pipes, processes = [], []
    for rank in range(count):
        here, there = _context.Pipe(duplex=False)
        process = _context.Process(
            target=_work, args=(there, rank, count, port, stderr, function, arguments))
        process.start()
        there.close()
        pipes.append(here)
        processes.append(process)
    try:
        return [_received(pipe, seconds) for pipe in pipes]
    finally:
        for process in processes:
            process.join(5)
            process.kill()


def _received(pipe: Any, seconds: float) -> tuple[bool, Any]:
    try:
        return pipe.recv() if pipe.poll(seconds) else (False, "a worker gave no answer in time")
    except EOFError:
        return False, "a worker died"


def _work(pipe: Any, rank: int, count: int, port: int, stderr: Path | None,
          function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count),
                      MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    if stderr:
        os.dup2(os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    try:
        pipe.send((True, function(*arguments)))
    except BaseException:
        pipe.send((False, f"worker {rank}: {traceback.format_exc()}"))
