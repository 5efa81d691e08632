"""Layers that choose among items: BatchReindex and Filter."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, TorchLayer, at_least, exactly


@LAYERS.register("BatchReindex")
class BatchReindex(TorchLayer):
    """y[i] = x[index[i]]

    bottom: x (N, ...), index (M,) of [0, N); top: (M, ...)
    """

    num_bottom = exactly(2)
    num_top = exactly(1)
    no_gradient = (1,)

    def check(self, *shapes):
        if not shapes[0] or len(shapes[1]) != 1:
            raise LayerError(f"{self.title}: bottoms must be x (N, ...) and index (M,), got "
                             f"{shapes[0]} and {shapes[1]}")

    def compute(self, x: Tensor, index: Tensor) -> Tensor:
        return x.index_select(0, index.long())


@LAYERS.register("Filter")
class Filter(TorchLayer):
    """The items of each bottom but the last for which the last is not 0

    bottom: x (N, ...), ..., selector (N,); tops: one a bottom but for the selector. Until data is
    there, tops have the shape they have when all items are chosen.
    """

    num_bottom = at_least(2)
    num_top = at_least(1)
    no_gradient: tuple[int, ...] = ()
    _built = False

    def setup(self, bottom, top):
        if len(top) != len(bottom) - 1:
            raise LayerError(f"{self.title}: {len(bottom)} bottoms, the last of them the selector, "
                             f"need {len(bottom) - 1} tops, got {len(top)}")
        self.no_gradient = (len(bottom) - 1,)

    def check(self, *shapes):
        *items, selector = shapes
        if not selector or math.prod(selector) != selector[0] or any(
                s[:1] != selector[:1] for s in items):
            raise LayerError(f"{self.title}: the selector must be (N,) and the others (N, ...), "
                             f"got {', '.join(map(str, shapes))}")

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return list(shapes[:-1])

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        if self._built:
            chosen = int(torch.count_nonzero(bottom[-1].tensor))
            for blob in top:
                blob.reshape(chosen, *blob.shape[1:])
        self._built = True

    def compute(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        *items, selector = bottoms
        chosen = selector.reshape(len(selector)).nonzero().flatten()
        return tuple(x.index_select(0, chosen) for x in items)
