"""Endless batches of a source, from any place on; they run in a thread and know no layer.

All that is random in a batch comes from (seed, number of the batch), all that is random in a pass
over the source from (seed, number of the pass), so that a `Place` is all there is to remember.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

KEPT = 64       # batches whose names are remembered: more than are made ahead


@dataclass(frozen=True)
class Place:
    """Where the next batch begins: number of the batch, of the pass, of the item in that pass."""

    batch: int = 0
    epoch: int = 0
    item: int = 0

    def to_json(self, seed: int) -> bytes:
        return json.dumps({"seed": seed, **asdict(self)}).encode()

    @classmethod
    def from_json(cls, content: bytes) -> tuple[Place, int]:
        """The place and the seed; ValueError if `content` is something else."""
        try:
            fields = json.loads(content)
            numbers = [fields[name] for name in ("batch", "epoch", "item", "seed")]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError("the saved place of the data layer is damaged") from error
        if not all(isinstance(n, int) and n >= 0 for n in numbers):
            raise ValueError(f"the saved place of the data layer is damaged: {fields}")
        return cls(*numbers[:3]), numbers[3]


@dataclass(frozen=True)
class Turns:
    """Which batches of a test are this worker's, where several share it.

    A test takes `period` batches, from number `first` on or a multiple of `period` later; of them
    worker `rank` makes every `count`-th, from the `rank`-th on.
    """

    first: int
    period: int
    rank: int
    count: int

    def __contains__(self, number: int) -> bool:
        return (number - self.first) % self.period % self.count == self.rank


class Batches:
    """Batches of `batch_size` items, pass after pass. A batch is a tuple of arrays, one a top."""

    def __init__(self, batch_size: int, seed: int) -> None:
        self.batch_size, self.seed = batch_size, seed
        self.share = (0, 1)     # worker r of N takes items r, r + N, ...
        self.turns: Turns | None = None     # or it takes whole batches in turn with the others
        self._labels: dict[int, list[str]] = {}         # of the last batches, by number

    def items(self, epoch: int, first: int) -> Iterator:
        """The items of pass `epoch` from number `first` on."""
        raise NotImplementedError

    def assemble(self, items: list, random: np.random.Generator) -> tuple[np.ndarray, ...]:
        """The arrays of a batch. Arrays of one first axis, (batch, ...) each."""
        raise NotImplementedError

    def label(self, item: Any) -> str:
        """How errors name an item; "" where it has no name."""
        return ""

    def labels_of(self, number: int) -> list[str]:
        """The names of the items of batch `number`, one of the last."""
        return self._labels.get(number, [])

    def labels_before(self, place: Place) -> list[str]:
        """The names of the items of the batch whose end is `place`."""
        rank, count = self.share
        return self.labels_of(place.batch - count + rank)

    def reading(self) -> str:
        """The source, with the items of the batch that was begun last."""
        labels = self._labels[max(self._labels)] if self._labels else []
        return f"{self}" + (f" ({', '.join(labels[:8])})" if labels else "")

    def run(self, place: Place) -> Iterator[tuple[tuple[np.ndarray, ...] | None, Place]]:
        """(arrays, place behind them) of the batch at `place` and of all after it; None in place of
        the arrays where it is another worker's turn.

        Places are those of all workers: of N batches that they take together this one has its share
        of the items, and they all end at one place. Raises ValueError where there are no items.
        """
        rank, count = self.share
        number, source = place.batch, self._endless(place)
        while True:
            group: list = []
            for k in range(self.batch_size * count):
                each, epoch, item = next(source)
                if k % count == rank:
                    group.append(each)
            arrays = None
            if self.is_due(number):
                self._note(number + rank, group)
                arrays = self.assemble(group, self.random_of_batch(number + rank))
            number += count
            yield arrays, Place(number, epoch, item)

    def is_due(self, number: int) -> bool:
        """Whether this worker makes batch `number`."""
        return self.turns is None or number in self.turns

    def _endless(self, place: Place) -> Iterator[tuple[Any, int, int]]:
        """(item, its pass, the number of the next one there), pass after pass"""
        epoch, item = place.epoch, place.item
        while True:
            for each in self.items(epoch, item):
                item += 1
                yield each, epoch, item
            if not item:
                raise ValueError(f"{self}: holds no items")
            epoch, item = epoch + 1, 0

    def _note(self, number: int, items: list) -> None:
        self._labels[number] = [label for label in map(self.label, items) if label]
        if len(self._labels) > KEPT:
            del self._labels[next(iter(self._labels))]     # the oldest

    def random_of_batch(self, number: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, 0, number))

    def random_of_pass(self, epoch: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, 1, epoch))

    def random_skip(self, limit: int) -> int:
        """How many items to leave out at the beginning: of [0, limit)"""
        return int(np.random.default_rng((self.seed, 2)).integers(limit)) if limit else 0
