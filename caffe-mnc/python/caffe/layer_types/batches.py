"""What data layers share: tops filled with batches that a thread makes ahead."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from caffe.data.batches import Batches, Place, Turns
from caffe.data.images import MOST_VALUES
from caffe.data.prefetch import Prefetch
from caffe.engine.errors import LayerError
from caffe.engine.layer import TRAIN, Layer, exactly
from caffe.engine.parallel.ranks import solver_count, solver_rank
from caffe.engine.random import generator


@contextmanager
def naming(layer: Layer) -> Iterator[None]:
    """What files and their contents do wrong becomes a LayerError with the layer's name."""
    try:
        yield
    except LayerError:
        raise
    except (ValueError, OSError, ImportError, KeyError, RuntimeError) as error:
        raise LayerError(f"{layer.title}: {error}") from error


def reshape_tops(layer: Layer, top: list, *shapes: tuple[int, ...], least: int = 1) -> None:
    """Give the tops their shapes; LayerError before memory is taken if one is beyond Caffe's."""
    for blob, shape in zip(top, shapes):
        if min(shape, default=least) < least or math.prod(shape) > MOST_VALUES:
            raise LayerError(f"{layer.title}: a top cannot have the shape {shape}; check the batch "
                             f"size and the source")
        blob.reshape(*shape)


class BatchLayer(Layer):
    """Tops filled with batches from `self.batches`, made in a thread up to `prefetch` ahead.

    The thread starts with the first forward. What is drawn (order, crops, mirroring) comes from a
    seed of the layer's own, taken from the engine's generator at setup, so that the thread's
    timing changes nothing. Solver states hold that seed and the place reached. In phase TRAIN
    workers share the items out among them.
    """

    shared_place = True

    num_bottom = exactly(0)
    batches: Batches

    def setup(self, bottom, top):
        self.seed = int(torch.randint(2**62, (), generator=generator("cpu")))
        self._place, self._prefetch = Place(), None
        with naming(self):
            self.open(top)
        if self.phase == TRAIN:
            self.batches.share = solver_rank(), solver_count()

    def open(self, top: list) -> None:
        """Make `self.batches` and give the tops their shapes."""
        raise NotImplementedError

    def positive(self, value: int, option: str) -> int:
        if value < 1:
            raise LayerError(f"{self.title}: {option} is missing or 0")
        return value

    def skip(self, items: int) -> None:
        """Begin `items` items later than the source does."""
        self._place = Place(item=items)

    def forward(self, bottom, top):
        arrays: Any
        place, arrays = self._place, self._next()
        if arrays is None:              # it was left to another worker, but a user runs this net
            self.close()
            self._place, self.batches.turns = place, None
            arrays = self._next()
        for blob, values in zip(top, arrays):
            blob.tensor = torch.from_numpy(values).to(self.device, self.dtype)

    def _next(self) -> tuple[np.ndarray, ...] | None:
        if self._prefetch is None:
            depth = max(1, self.param.data_param.prefetch)
            title, batches = self.title, self.batches       # the thread must not hold the layer
            self._prefetch = Prefetch(batches.run(self._place), depth,
                                      lambda: f"{title}: {batches.reading()}")
        with naming(self):
            arrays, self._place = self._prefetch.next()
        return arrays

    def pass_over(self) -> None:
        """Leave the next batch out: read, but not decoded or transformed, if it is not due here."""
        self._next()

    def take_turns(self, period: int, rank: int, count: int) -> None:
        """A test of `period` batches begins, of which this worker makes every `count`-th."""
        shared = period > 0 and count > 1
        turns = Turns(self._place.batch % period, period, rank, count) if shared else None
        if turns != self.batches.turns:
            self.close()
            self.batches.turns = turns

    def backward(self, top, propagate_down, bottom):
        pass

    def batch_items(self) -> list[str]:
        """The names of what the tops hold, where the source has names."""
        return self.batches.labels_before(self._place)

    def close(self) -> None:
        """End the thread; the next forward starts it again where this layer stands."""
        if self._prefetch is not None:
            self._prefetch.close()
            self._prefetch = None

    def snapshot_state(self) -> bytes:
        """What a solver state keeps of this layer."""
        return self._place.to_json(self.seed)

    def restore_state(self, state: bytes) -> None:
        """Go on from where `snapshot_state` was taken."""
        with naming(self):
            place, seed = Place.from_json(state)
        self.close()
        self._place, self.seed = place, seed
        self.batches.seed = seed
