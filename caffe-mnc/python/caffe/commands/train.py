"""caffe train: train a net, go on from a snapshot, or finetune."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from caffe.commands import devices
from caffe.commands.flags import names
from caffe.commands.registration import ACTIONS, UsageError
from caffe.engine import device, log
from caffe.engine.solving.solver import Solver, solver_parameter
from caffe.engine.solving.update_rules import get_solver

EFFECTS = {"stop": "stop_requested", "snapshot": "snapshot_requested", "none": None}


@ACTIONS.register("train")
def run(flags: SimpleNamespace) -> int:
    """train or finetune a model"""
    check(flags)
    param = configured(flags)
    choose_device(flags, param)
    solver = get_solver(param)
    if flags.snapshot:
        log.info("Resuming from %s", flags.snapshot)
        solver.restore(flags.snapshot)
    log.info("Starting Optimization")
    with signals(solver, SIGINT=flags.sigint_effect, SIGHUP=flags.sighup_effect):
        solver.solve()
    log.info(log.DONE)
    return 0


def check(flags: SimpleNamespace) -> None:
    """What the flags alone can have wrong."""
    if not flags.solver:
        raise UsageError("train needs --solver FILE")
    if flags.snapshot and flags.weights:
        raise UsageError("give --snapshot to resume training or --weights to finetune, not both")
    for name in ("sigint_effect", "sighup_effect"):
        if getattr(flags, name) not in EFFECTS:
            raise UsageError(f"--{name} takes {', '.join(EFFECTS)}; got {getattr(flags, name)!r}")


def configured(flags: SimpleNamespace) -> Any:
    """The SolverParameter of the file, with level, stages and weights of the flags."""
    param = solver_parameter(flags.solver)
    if flags.level:
        param.train_state.level = flags.level
    param.train_state.stage.extend(names(flags.stage))
    if flags.weights:
        param.weights.append(flags.weights)
    locate_nets(param, Path(flags.solver).parent)
    return param


def locate_nets(param: Any, folder: Path) -> None:
    """Files are named from the working directory; those not there, from the solver's folder."""
    for field in ("net", "train_net"):
        if param.HasField(field):
            setattr(param, field, _located(getattr(param, field), folder))
    param.test_net[:] = [_located(name, folder) for name in param.test_net]
    param.weights[:] = [",".join(_located(name, folder) for name in names(files))
                        for files in param.weights]


def _located(name: str, folder: Path) -> str:
    beside = folder / name
    return str(beside) if not os.path.exists(name) and beside.exists() else name


def choose_device(flags: SimpleNamespace, param: Any) -> None:
    """GPU or CPU: --cpu, --gpu, else what the solver file asks for in so many words."""
    if flags.cpu and flags.gpu:
        raise UsageError("give --cpu or --gpu, not both")
    asked = flags.gpu
    if not asked and not flags.cpu and param.HasField("solver_mode") and param.solver_mode:
        asked = str(param.device_id)
        if not torch.cuda.is_available():
            raise UsageError(
                f"{flags.solver}: it says solver_mode: GPU, but PyTorch finds no CUDA device here; "
                "add --cpu to train on the CPU, or write solver_mode: CPU in the file")
    if len(asked.split(",")) > 1:
        raise UsageError(_ONE_GPU.format(asked))
    gpus = devices.listed(asked)
    if len(gpus) > 1:
        raise UsageError(_ONE_GPU.format(asked))
    if not gpus:
        log.info("Use CPU.")
        device.set_mode_cpu()
        return
    log.info("Using GPUs %d", gpus[0])
    log.info("GPU %d: %s", gpus[0], torch.cuda.get_device_name(gpus[0]))
    param.device_id = gpus[0]
    devices.use_gpu(gpus[0])


_ONE_GPU = ("--gpu {}: training on several GPUs is not there yet; name one, as in --gpu 0 "
            "(iter_size in the solver file gives the effective batch of several)")


@contextmanager
def signals(solver: Solver, **effects: str) -> Iterator[None]:
    """While the block runs, each signal does to `solver` what its effect says.

    The solver looks after every iteration. Outside the main thread Python allows no handlers:
    then signals stay as they are.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {}
    for name, effect in effects.items():
        if hasattr(signal, name):                                   # Windows has no SIGHUP
            number = getattr(signal, name)
            before[number] = signal.signal(number, _handler(solver, EFFECTS[effect]))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _handler(solver: Solver, attribute: str | None):
    def handle(number: int, frame: Any) -> None:
        if attribute:
            setattr(solver, attribute, True)
    return handle
