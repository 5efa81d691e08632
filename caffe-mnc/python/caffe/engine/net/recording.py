"""Lazy recording: a TEST net runs without keeping what backward needs, until backward is asked.

The first backward replays the forward passes (one, or several that ran a part of the net each) with
recording on: layers of ours run again from the values the others (inputs, data layers, users'
Python layers) last produced; those do not run twice. From then on the net records every forward.
TRAIN nets always record, and so do nets with a layer in phase TRAIN, which may draw at random.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from caffe.engine.blob import Blob
from caffe.engine.layer import TRAIN, TorchLayer
from caffe.engine.net.build import Node


class Recording:
    """What a net must remember of its last forward passes to be able to go backward."""

    def __init__(self, nodes: list[Node], always: bool) -> None:
        self._nodes = nodes
        self._on = always or any(node.layer.phase == TRAIN for node in nodes)
        self._passes: list[tuple[int, int]] = []    # ranges of layers, in order, disjoint
        self._originals: dict[int, list[torch.Tensor]] = {}     # in-place layer -> its bottoms
        self._fresh: set[int] = set()                           # memory that replay makes again

    def start_forward(self, first: int, last: int) -> Callable[[int], None]:
        """Begin a pass; returns what to call before each layer runs."""
        earlier = [(a, min(b, first - 1)) for a, b in self._passes if a < first]
        self._passes = [*earlier, (first, last)]
        self._originals = {i: kept for i, kept in self._originals.items() if i < first}
        self._fresh.clear()
        return self._record if self._on else self._remember

    def ensure(self, run_layer: Callable[[int, Callable], None]) -> None:
        """Make sure the last forward passes are recorded: replay them if they were not.

        What a user has written to a blob since then is there again afterwards.
        """
        if self._on:
            return
        self._on = True
        shown = self._shown()
        for first, last in self._passes:
            for i in reversed(range(first, last + 1)):
                self._rewind(i)
            for i in range(first, last + 1):
                self._replay(i, shown, run_layer)
            if (first, last) != self._passes[-1]:
                for i in range(first, last + 1):        # the next pass began with what users saw
                    self._put_back(i, shown)
        self._originals.clear()
        for i, blob in self._touched():
            if i in shown:
                blob.tensor = shown[i]

    def follow_edits(self, i: int) -> None:
        """Before backward of a layer: what it was recorded with is what its blobs hold now."""
        node = self._nodes[i]
        if not isinstance(node.layer, TorchLayer):
            return              # it reads its blobs by itself
        if True not in [first <= i <= last for first, last in self._passes]:
            node.layer.forget()
        touched = True in [b.touched for b in (*node.bottom, *node.top)]
        if not touched and node.layer.recorded:
            return
        made = {b.memory for later in self._nodes[i + 1:] if not later.layer.aliases_bottom
                for b in later.top} if touched else set()
        node.layer.follow(
            node.bottom, node.top,
            own_bottoms=not node.in_place and made.isdisjoint(b.memory for b in node.bottom),
            own_top=made.isdisjoint(b.memory for b in node.top))

    def _replay(self, i: int, shown: dict[int, torch.Tensor], run_layer: Callable) -> None:
        node = self._nodes[i]
        if node.in_place and not node.layer.replayable:
            self._put_back(i, shown)
        if not node.layer.replayable:
            return
        self._rewind(i)
        node.layer.replaying = True
        run_layer(i, self._record)
        node.layer.replaying = False

    def _rewind(self, i: int) -> None:
        """Bring back what an in-place layer has overwritten; others may read that memory too."""
        for blob, value in zip(self._nodes[i].bottom, self._originals.get(i, [])):
            blob.tensor = value

    def _put_back(self, i: int, shown: dict[int, torch.Tensor]) -> None:
        for j, blob in zip(self._nodes[i].top_ids, self._nodes[i].top):
            blob.tensor = shown[j]

    def _shown(self) -> dict[int, torch.Tensor]:
        """The values of tops, by blob, that users may have seen or edited or that are put back."""
        return {j: blob.tensor.clone() if blob.touched else blob.tensor
                for first, last in self._passes for node in self._nodes[first:last + 1]
                for j, blob in zip(node.top_ids, node.top)
                if blob.touched or not node.layer.replayable or last < self._passes[-1][0]}

    def _record(self, i: int) -> None:
        self._nodes[i].layer.recording = True

    def _remember(self, i: int) -> None:
        """Keep what an in-place layer is about to overwrite and no replay can make again."""
        node = self._nodes[i]
        if node.in_place and any(b.memory not in self._fresh for b in node.bottom):
            self._originals[i] = [b.tensor.clone() if b.touched else b.tensor
                                  for b in node.bottom]
        made = {b.memory for b in node.top} if node.top else set()
        if not node.layer.replayable:
            self._fresh -= made
        elif node.in_place:
            self._fresh |= made
        else:       # Split and Reshape hand on the memory of the bottom
            self._fresh |= made.difference(b.memory for b in node.bottom)

    def _touched(self) -> list[tuple[int, Blob]]:
        """(id, blob) of the blobs that replay will make again and a user holds a view of."""
        return [(i, blob) for first, last in self._passes
                for node in self._nodes[first:last + 1] if node.layer.replayable
                for i, blob in zip(node.top_ids, node.top) if blob.touched]
