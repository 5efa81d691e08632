"""A moving average of the weights, which often tests better than the weights that it is of.

    solver = caffe.get_solver("solver.prototxt")
    WeightAverage(solver, 0.999)        # before anything is resumed or trained
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from caffe.engine.errors import CaffeError, WeightsError

if TYPE_CHECKING:
    from caffe.engine.net.net import Net
    from caffe.engine.solving.solver import Solver


class WeightAverage:
    """a += (1 - d) (w - a) after each update, for every parameter w; d = min(decay, (1 + n) /
    (10 + n)) at the n-th, so that the first weights are soon forgotten (TensorFlow's
    ExponentialMovingAverage). Statistics are averaged as well.

    Snapshots hold the average, and whatever else runs within `solver.export`; their states hold the
    average and the weights in training, so that resuming is exact. From a state without an average
    it begins anew.
    """

    shared_place = True         # workers that train together have the same average

    def __init__(self, solver: Solver, decay: float) -> None:
        """Raises CaffeError unless decay is from 0 to below 1."""
        if not 0 <= decay < 1:
            raise CaffeError(f"the decay of an average of weights must be from 0 to below 1, got "
                             f"{decay!r}")
        self.solver, self.decay, self.updates = solver, decay, 0
        self.values = [blob.tensor.detach().clone() for blob in solver.net.learnable_params]
        self._export = solver.export
        self._seen: int | None = None       # iteration up to which the weights were taken in
        solver.export = self.swapped
        solver.companions["average"] = self
        solver.add_callback(self.catch_up, _nothing)

    def catch_up(self) -> None:
        """Take in the weights of the last update, once; at first, begin with those there are."""
        if self.solver.iter == self._seen:
            return
        self.updates += self._seen is not None
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.updates else 0
        for value, blob in zip(self.values, self.solver.net.learnable_params):
            value.lerp_(blob.tensor, 1 - decay)
        self._seen = self.solver.iter

    @contextmanager
    def swapped(self, net: Net) -> Iterator[Iterable[str]]:
        """The net has the average for its weights meanwhile. Yields names of the layers changed."""
        self.catch_up()
        self._swap()
        try:
            with self._export(net) as altered:
                changed = [layer.name for layer in net.layers if len(layer.blobs)]
                yield dict.fromkeys([*changed, *(altered or ())])
        finally:
            self._swap()

    def _swap(self) -> None:
        for blob, value in zip(self.solver.net.learnable_params, self.values):
            before = blob.tensor.clone()
            blob.tensor.copy_(value)
            value.copy_(before)

    def snapshot_state(self) -> bytes:
        """A line of JSON, then the values."""
        about = {"updates": self.updates, "shapes": [list(value.shape) for value in self.values]}
        arrays = (value.cpu().numpy().tobytes() for value in self.values)
        return b"\n".join((json.dumps(about).encode(), b"".join(arrays)))

    def restore_state(self, state: bytes) -> None:
        """Go on with this average; WeightsError if it is of other parameters."""
        line, _, content = state.partition(b"\n")
        about = json.loads(line)
        sizes = [value.numel() * value.element_size() for value in self.values]
        if about["shapes"] != [list(value.shape) for value in self.values] \
                or len(content) != sum(sizes):
            raise WeightsError("the average of the weights in the state is of another net")
        begin = 0
        for value, size in zip(self.values, sizes):
            part = bytearray(content[begin:begin + size])
            value.copy_(torch.frombuffer(part, dtype=value.dtype).reshape(value.shape))
            begin += size
        self.updates, self._seen = about["updates"], self.solver.iter


def _nothing() -> None:
    pass
