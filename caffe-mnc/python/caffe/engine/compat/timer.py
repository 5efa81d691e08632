"""A stop watch, as Caffe's: it waits for the GPU where one computes."""

from __future__ import annotations

import time

import torch

from caffe.engine import log
from caffe.engine.device import current_device


class Timer:
    """timer.start(); work; timer.stop(); timer.ms"""

    def __init__(self) -> None:
        self._started: float | None = None
        self._passed: float | None = None

    def start(self) -> None:
        """Begin anew."""
        if self._started is None:
            self._started = _now()

    def stop(self) -> None:
        if self._started is not None:
            self._passed, self._started = _now() - self._started, None

    @property
    def ms(self) -> float:
        """Milliseconds of the last run; one that still runs is stopped."""
        self.stop()
        if self._passed is None:
            log.warning("Timer has never been run before reading time.")
            return 0.0
        return 1000 * self._passed


def _now() -> float:
    device = current_device()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
