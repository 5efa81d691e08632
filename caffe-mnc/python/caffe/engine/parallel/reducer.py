"""Means of gradients over workers, on their way while backward still computes the others."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from caffe.engine.blob import Blob

if TYPE_CHECKING:
    from caffe.engine.net.net import Net

BUCKET = 25 << 20       # bytes that go at once
FIRST = 1 << 20         # of the first, which should leave early


@dataclass
class Bucket:
    """Parameters whose gradients go together, once layer number `ready` has had its turn."""

    blobs: list[Blob]
    ready: int
    memory: torch.Tensor | None = None      # flat, of all of them
    sent: Any = None                        # the operation under way

    def send(self, count: int, group: Any, compressed: torch.dtype | None) -> None:
        """Begin the sum over workers of the gradients divided by their `count`."""
        gradients = [blob.diff_tensor for blob in self.blobs]
        if len(gradients) == 1 and gradients[0].is_contiguous() and compressed is None:
            self.memory = gradients[0].view(-1).div_(count)
        else:
            self._gather(gradients, count)
        assert self.memory is not None
        if compressed is not None:
            self.packed = self.memory.to(compressed)
        self.sent = dist.all_reduce(self.memory if compressed is None else self.packed,
                                    group=group, async_op=True)

    def _gather(self, gradients: list[torch.Tensor], count: int) -> None:
        size = sum(g.numel() for g in gradients)
        if self.memory is None or self.memory.numel() != size:
            self.memory = gradients[0].new_empty(size)
        for part, gradient in zip(self._parts(), gradients):
            torch.div(gradient, count, out=part.view(gradient.shape))

    def _parts(self) -> tuple[torch.Tensor, ...]:
        assert self.memory is not None
        return self.memory.split([blob.count for blob in self.blobs])

    def receive(self, compressed: bool) -> None:
        """Wait for the sum; it becomes the gradient of each parameter."""
        self.sent.wait()
        self.sent = None
        assert self.memory is not None
        if compressed:
            self.memory.copy_(self.packed)
        for blob, part in zip(self.blobs, self._parts()):
            blob.diff_tensor = part.view(blob.shape)


class Reducer:
    """Called with the number of each layer that has had its turn in backward; `finish` waits.

    group: of the workers. compressed: bfloat16 sends gradients in that. Only the last of an
    iteration's passes sends: `active` says whether this is it.
    """

    def __init__(self, net: Net, count: int, group: Any,
                 compressed: torch.dtype | None = None) -> None:
        self.net, self.count, self.group, self.compressed = net, count, group, compressed
        self.active = False
        self.waited = 0.0           # seconds in `finish` so far
        self._learning: tuple[bool, ...] = ()
        self._of_layer: dict[int, list[Bucket]] = {}

    def __call__(self, layer: int) -> None:
        """Send the gradients that are complete with this layer."""
        if self.active:
            for bucket in self._plan().get(layer, ()):
                bucket.send(self.count, self.group, self.compressed)

    def finish(self) -> None:
        """Wait for all; what no call has sent goes now. Raises RuntimeError as torch does."""
        buckets = [bucket for of_one in self._plan().values() for bucket in of_one]
        for bucket in buckets:
            if bucket.sent is None:
                bucket.send(self.count, self.group, self.compressed)
        began = time.perf_counter()
        for bucket in buckets:
            bucket.receive(self.compressed is not None)
        self.waited += time.perf_counter() - began

    def _plan(self) -> dict[int, list[Bucket]]:
        """The buckets by layer; made anew where other parameters learn than before."""
        learning = tuple(rate != 0 for rate in self.net.params_lr)
        if learning != self._learning:
            self._learning, self._of_layer = learning, {}
            for bucket in _buckets(self.net, learning):
                self._of_layer.setdefault(bucket.ready, []).append(bucket)
        return self._of_layer


def _buckets(net: Net, learning: tuple[bool, ...]) -> list[Bucket]:
    """In the order in which they are complete: backward goes from the last layer to the first."""
    complete = _last_turns(net)
    order = sorted((i for i, learns in enumerate(learning) if learns),
                   key=lambda i: -complete[i])
    buckets: list[Bucket] = []
    room = 0
    for i in order:
        blob = net.learnable_params[i]
        size = blob.count * blob.dtype.itemsize
        if not buckets or size > room:
            buckets.append(Bucket([], complete[i]))
            room = BUCKET if len(buckets) > 1 else FIRST
        buckets[-1].blobs.append(blob)
        buckets[-1].ready = complete[i]
        room -= size
    return buckets


def _last_turns(net: Net) -> list[int]:
    """For each parameter, the number of the layer whose turn completes its gradient."""
    owners = [place for place, owner in net.parameters.owner.items() if place == owner]
    number = {place: i for i, place in enumerate(owners)}
    turns = [layer for layer, _ in owners]
    for (layer, _), owner in net.parameters.owner.items():
        turns[number[owner]] = min(turns[number[owner]], layer)
    return turns
