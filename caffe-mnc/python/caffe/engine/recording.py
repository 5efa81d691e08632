"""Lazy recording: a TEST net runs without keeping what backward needs, until backward is asked.

The first backward replays the forward pass with recording on: layers of ours run again from the
values the others (inputs, data layers, users' Python layers) last produced; those do not run
twice. From then on the net records every forward. TRAIN nets always record.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from caffe.engine.errors import CaffeError
from caffe.engine.net_build import Node


class Recording:
    """What a net must remember of its last forward pass to be able to go backward."""

    def __init__(self, nodes: list[Node], always: bool) -> None:
        self._nodes = nodes
        self._on = always
        self._range: tuple[int, int] | None = None
        self._originals: dict[int, list[torch.Tensor]] = {}     # in-place layer -> its bottoms
        self._fresh: set[int] = set()                           # memory written by replayable layers

    def start_forward(self, first: int, last: int) -> Callable[[int], None]:
        """Begin a pass; returns what to call before each layer runs."""
        self._range = (first, last)
        self._originals.clear()
        self._fresh.clear()
        return self._record if self._on else self._remember

    def ensure(self, run_layer: Callable[[int, Callable], None]) -> None:
        """Make sure the last forward pass is recorded: replay it if it was not."""
        if self._range is None:
            raise CaffeError("backward() before the first forward()")
        if self._on:
            return
        self._on = True
        edited = {i: b.tensor.clone() for i, b in self._touched()}
        for i in range(self._range[0], self._range[1] + 1):
            layer = self._nodes[i].layer
            if layer.replayable:
                for blob, value in zip(self._nodes[i].bottom, self._originals.get(i, [])):
                    blob.tensor = value
                layer.replaying = True
                run_layer(i, self._record)
                layer.replaying = False
        self._originals.clear()
        self._check_unedited(edited)

    def _record(self, i: int) -> None:
        self._nodes[i].layer.recording = True

    def _remember(self, i: int) -> None:
        """Keep what an in-place layer is about to overwrite and no replay can make again."""
        node = self._nodes[i]
        if node.in_place and any(b.memory not in self._fresh for b in node.bottom):
            self._originals[i] = [b.tensor.clone() if b.touched else b.tensor
                                  for b in node.bottom]
        if node.layer.replayable:
            self._fresh.update(b.memory for b in node.top)

    def _touched(self) -> list[tuple[int, object]]:
        """(id, blob) of the blobs that replay will make again and a user holds a view of."""
        first, last = self._range
        return [(i, blob) for node in self._nodes[first:last + 1] if node.layer.replayable
                for i, blob in zip(node.top_ids, node.top) if blob.touched]

    def _check_unedited(self, before: dict[int, torch.Tensor]) -> None:
        for i, blob in self._touched():
            now = blob.tensor
            if i in before and not torch.allclose(before[i], now, rtol=1e-3, atol=1e-5,
                                                  equal_nan=True):
                name = next(n.layer.name for n in self._nodes if i in n.top_ids)
                raise CaffeError(
                    f'a top of layer "{name}" was changed after forward(), and backward() cannot '
                    f"take that into account; run forward(start=<the layer after it>) first")
