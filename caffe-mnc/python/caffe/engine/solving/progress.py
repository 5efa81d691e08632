"""What a solver reports while it trains: losses, speed, outputs of nets."""

from __future__ import annotations

import time

import numpy as np

from caffe.engine import log
from caffe.engine.net.net import Net


class SmoothedLoss:
    """The mean of the last `window` losses."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.losses: list[float] = []

    def add(self, loss: float) -> None:
        self.losses = [*self.losses, loss][-self.window:]

    @property
    def mean(self) -> float:
        return sum(self.losses) / len(self.losses)


class Clock:
    """Iterations and seconds since the last look."""

    def __init__(self, iteration: int) -> None:
        self.iteration, self.time = iteration, time.perf_counter()

    def lap(self, iteration: int) -> tuple[int, float]:
        now = time.perf_counter()
        passed = iteration - self.iteration, max(now - self.time, 1e-9)
        self.iteration, self.time = iteration, now
        return passed


def run_forward(net: Net) -> float:
    """One forward pass; returns the weighted loss."""
    return net.run()


def take_turns(net: Net, batches: int, rank: int, count: int) -> None:
    """A test of so many batches begins, of which this worker takes every `count`-th."""
    for node in net.nodes:
        if hasattr(node.layer, "take_turns"):
            node.layer.take_turns(batches, rank, count)


def pass_over(net: Net) -> None:
    """Leave the next batch out; layers that have no other way than `forward` read it."""
    for number, node in enumerate(net.nodes):
        if hasattr(node.layer, "pass_over"):
            node.layer.pass_over()
        elif not node.bottom:
            net.run(number, number)


def output_values(net: Net) -> dict[str, np.ndarray]:
    """The outputs of `net` as flat float64 arrays, copied. Each of the shape (values,)."""
    return {name: net.blobs[name].tensor.double().reshape(-1).cpu().numpy()
            for name in net.outputs}


def log_outputs(net: Net, line: str, values: dict[str, np.ndarray]) -> None:
    """A line of the log for each of `values`, by output, each of the shape (values,)."""
    number = 0
    for name, array in values.items():
        weight = net.blob_loss_weights[name]
        for value in array:
            weighted = log.WEIGHTED % (weight, weight * value) if weight else ""
            log.info(line, number, name, value, weighted)
            number += 1
