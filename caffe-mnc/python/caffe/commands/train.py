"""caffe train: train a net, go on from a snapshot, or finetune."""

from __future__ import annotations

import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from caffe.commands import devices
from caffe.commands.flags import names
from caffe.commands.registration import UsageError
from caffe.data.checking import faults
from caffe.engine import device, log
from caffe.engine.errors import CaffeError
from caffe.engine.parallel import launching, team
from caffe.engine.solving import pairs
from caffe.engine.solving.averaging import WeightAverage
from caffe.engine.solving.finite import CHOICES
from caffe.engine.solving.lock import locked
from caffe.engine.solving.metrics import Metrics, TensorBoard
from caffe.engine.solving.nets import named_file, solver_parameter
from caffe.engine.solving.saving import iteration_of
from caffe.engine.solving.solver import Solver
from caffe.engine.solving.stopping import EFFECTS, signals
from caffe.engine.solving.update_rules import get_solver
from caffe.engine.solving.workers import COMPRESSIONS, Sharing

PRECISIONS = {"fp32": None, "bf16": "bfloat16"}


def run(flags: SimpleNamespace) -> int:
    """train or finetune a model, by one worker or several"""
    check(flags)
    param = configured(flags)
    gpus = chosen_gpus(flags, param)
    wanted = max(len(gpus), flags.workers, 1)
    if wanted > 1 and team.count() == 1:
        return launching.start(wanted)
    if flags.workers not in (0, team.count()):
        raise UsageError(f"--workers {flags.workers}, but torchrun has started {team.count()}")
    with team.together(flags.log_all_workers) as workers:
        use(gpus, param)
        return train(flags, param, workers)


def train(flags: SimpleNamespace, param: Any, workers: team.Team) -> int:
    """All of it as one of these workers; returns the exit status."""
    solver = get_solver(param)
    solver.keep, solver.on_nan = flags.keep, flags.on_nan
    solver.net.set_precision(PRECISIONS[flags.precision])
    if flags.ema:
        WeightAverage(solver, flags.ema)
    metrics = metrics_of(solver, flags)
    first = workers.rank == 0
    with locked(param.snapshot_prefix) if flags.lock and first else nullcontext():
        if flags.check_data and first:
            check_data(solver)
        solver.join(workers, Sharing(flags.worker_limit, flags.compress, flags.sync_bn))
        if flags.snapshot:
            resume(solver, flags.snapshot)
        check_initial(solver)
        log.info("Starting Optimization")
        with signals(solver, SIGINT=flags.sigint_effect, SIGTERM="stop",
                     SIGHUP=flags.sighup_effect), \
                metrics.running(net=solver.net.name, folder=param.snapshot_prefix,
                                command=" ".join(sys.argv)) if metrics and first else nullcontext():
            solver.solve()
            if metrics and first:
                metrics.report(end=log.STOPPED if solver.stop_requested else log.DONE)
    log.info(log.DONE)
    return 128 + signal.SIGTERM if solver.stopped_by == signal.SIGTERM else 0


def metrics_of(solver: Solver, flags: SimpleNamespace) -> Metrics | None:
    """What writes the figures of the training where the flags say; None where they say nothing."""
    prefix = solver.param.snapshot_prefix
    if not flags.metrics and not flags.tensorboard:
        return None
    return Metrics(solver, f"{prefix}_metrics.jsonl",
                   [TensorBoard(f"{prefix}_tensorboard")] if flags.tensorboard else ())


def check_initial(solver: Solver) -> None:
    """CaffeError if a snapshot of this training would be written over the weights it begins with.
    """
    for name in (name for files in solver.param.weights for name in names(files)):
        number = iteration_of(solver, name, solver.param.max_iter)
        if number:
            raise CaffeError(
                f"{name}: iteration {number} of this training would be written over these initial "
                f"weights; choose another snapshot_prefix, copy them elsewhere, or go on from them "
                f"with --snapshot in place of --weights")


def resume(solver: Solver, where: str) -> None:
    """Go on from a state file, or from the newest good one of a folder or of "auto"."""
    log.info("Resuming from %s", where)
    found = solver.resume(where)
    if found is None:
        log.info("No snapshot %s_iter_N yet: training begins", solver.param.snapshot_prefix)
    elif found != where:
        log.info("Resuming from %s", found)


def check_data(solver: Solver, most: int = 20) -> None:
    """Decode every image that the data layers will read; CaffeError with what is wrong."""
    layers: list[Any] = [layer for net in (solver.net, *solver.test_nets) for layer in net.layers
                         if hasattr(layer, "batches")]
    found = []
    for layer in layers:
        log.info("Checking the data of %s: %s", layer.title, layer.batches)
        found += [f"{layer.title}: {fault}" for fault in faults(layer.batches)]
    if found:
        more = f"\n... and {len(found) - most} more" if len(found) > most else ""
        raise CaffeError(f"{len(found)} records or images cannot be used:\n"
                         + "\n".join(found[:most]) + more)


def check(flags: SimpleNamespace) -> None:
    """What the flags alone can have wrong."""
    if not flags.solver:
        raise UsageError("train needs --solver FILE")
    if flags.snapshot not in ("", pairs.AUTO) and flags.weights:
        raise UsageError("give --snapshot to resume training or --weights to finetune, not both")
    for name in ("sigint_effect", "sighup_effect"):
        if getattr(flags, name) not in EFFECTS:
            raise UsageError(f"--{name} takes {', '.join(EFFECTS)}; got {getattr(flags, name)!r}")
    if flags.on_nan not in CHOICES:
        raise UsageError(f"--on_nan takes {', '.join(CHOICES)}; got {flags.on_nan!r}")
    if flags.precision not in PRECISIONS:
        raise UsageError(f"--precision takes {' or '.join(PRECISIONS)}; got {flags.precision!r}")
    if not 0 <= flags.ema < 1:
        raise UsageError(f"--ema takes a number from 0 to below 1, got {flags.ema:g}")
    if flags.compress not in COMPRESSIONS:
        raise UsageError(f"--compress takes bf16, got {flags.compress!r}")
    if flags.workers < 0:
        raise UsageError(f"--workers takes a number of workers, got {flags.workers}")
    if flags.worker_limit <= 0:
        raise UsageError(f"--worker_limit takes seconds, got {flags.worker_limit:g}")
    if flags.keep < 0:
        raise UsageError(f"--keep takes a number of snapshots, got {flags.keep}")


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
            setattr(param, field, str(named_file(getattr(param, field), folder)))
    param.test_net[:] = [str(named_file(name, folder)) for name in param.test_net]
    param.weights[:] = [",".join(str(named_file(name, folder)) for name in names(files))
                        for files in param.weights]


def chosen_gpus(flags: SimpleNamespace, param: Any) -> list[int]:
    """GPUs or the CPU: --cpu, --workers, --gpu, else what the solver file asks for."""
    if (flags.cpu or flags.workers) and flags.gpu:
        raise UsageError(f"give --{'cpu' if flags.cpu else 'workers'} or --gpu, not both: --gpu "
                         "0,1 starts a worker on each of these GPUs, --workers 2 two on CPUs")
    asked = flags.gpu
    on_cpus = flags.cpu or flags.workers
    if not asked and not on_cpus and param.HasField("solver_mode") and param.solver_mode:
        asked = str(param.device_id)
        if not torch.cuda.is_available():
            raise UsageError(
                f"{flags.solver}: it says solver_mode: GPU, but PyTorch finds no CUDA device here; "
                "add --cpu to train on the CPU, or write solver_mode: CPU in the file")
    return devices.listed(asked)


def use(gpus: list[int], param: Any) -> None:
    """Compute on this worker's GPU, or on the CPU."""
    if not gpus:
        log.info("Use CPU.")
        device.set_mode_cpu()
        return
    if team.count() > 1:
        gpus = [devices.of_worker(gpus)]
    log.info("Using GPUs %d", gpus[0])
    log.info("GPU %d: %s", gpus[0], torch.cuda.get_device_name(gpus[0]))
    param.device_id = gpus[0]
    devices.use_gpu(gpus[0])
