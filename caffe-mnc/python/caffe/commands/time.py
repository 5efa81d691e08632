"""caffe time: how long each layer takes, forward and backward."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import torch

from caffe.commands import devices
from caffe.commands.flags import names
from caffe.commands.registration import UsageError
from caffe.engine import log
from caffe.engine.layer import TEST, TRAIN
from caffe.engine.net.net import Net

PHASES = {"": TRAIN, "TRAIN": TRAIN, "TEST": TEST}


def run(flags: SimpleNamespace) -> int:
    """benchmark model execution time"""
    if not flags.model:
        raise UsageError("time needs --model FILE")
    if flags.phase not in PHASES:
        raise UsageError(f"--phase takes TRAIN or TEST, got {flags.phase!r}")
    if flags.iterations < 1:
        raise UsageError(f"--iterations must be at least 1, got {flags.iterations}")
    devices.use_one(flags.gpu)
    net = Net(flags.model, PHASES[flags.phase], level=flags.level, stages=names(flags.stage))
    warm_up(net)
    log.info("*** Benchmark begins ***")
    log.info("Testing for %d iterations.", flags.iterations)
    report(net, measure(net, flags.iterations))
    log.info("*** Benchmark ends ***")
    return 0


def warm_up(net: Net) -> None:
    """The first pass allocates memory and chooses algorithms: it is not measured."""
    log.info("Performing Forward")
    log.info("Initial loss: %g", net.run())
    log.info("Performing Backward")
    net.run_backward()


def measure(net: Net, iterations: int) -> np.ndarray:
    """Milliseconds, (iterations, 2, layers): forward, backward."""
    spent = np.zeros((iterations, 2, len(net.layers)))
    for number, (forward, backward) in enumerate(spent):
        for i in range(len(net.layers)):
            forward[i] = timed(net.device, net.run, i)
        for i in reversed(range(len(net.layers))):
            backward[i] = timed(net.device, net.run_backward, i)
        log.info("Iteration: %d forward-backward time: %g ms.", number + 1,
                 forward.sum() + backward.sum())
    return spent


def timed(device: torch.device, run_layers, i: int) -> float:
    """Milliseconds that layer i takes, with whatever it started on the GPU finished."""
    start = time.perf_counter()
    run_layers(i, i)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - start) * 1000


def report(net: Net, spent: np.ndarray) -> None:
    log.info("Average time per layer: ")
    for layer, forward, backward in zip(net.layers, *spent.mean(axis=0)):
        log.info("%10s\tforward: %g ms.", layer.name, forward)
        log.info("%10s\tbackward: %g ms.", layer.name, backward)
    forward, backward = spent.sum(axis=2).mean(axis=0)
    log.info("Average Forward pass: %g ms.", forward)
    log.info("Average Backward pass: %g ms.", backward)
    log.info("Average Forward-Backward: %g ms.", forward + backward)
    log.info("Total Time: %g ms.", spent.sum())
