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


class Batches:
    """Batches of `batch_size` items, pass after pass. A batch is a tuple of arrays, one a top."""

    def __init__(self, batch_size: int, seed: int) -> None:
        self.batch_size, self.seed = batch_size, seed
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

    def reading(self) -> str:
        """The source, with the items of the batch that was begun last."""
        labels = self._labels[max(self._labels)] if self._labels else []
        return f"{self}" + (f" ({', '.join(labels[:8])})" if labels else "")

    def run(self, place: Place) -> Iterator[tuple[tuple[np.ndarray, ...], Place]]:
        """(arrays, place behind them) of the batch at `place` and of all after it.

        Raises ValueError where there are no items.
        """
        number, epoch, item = place.batch, place.epoch, place.item
        source = self.items(epoch, item)
        while True:
            group: list = []
            while len(group) < self.batch_size:
                try:
                    group.append(next(source))
                    item += 1
                except StopIteration:
                    if not item:
                        raise ValueError(f"{self}: holds no items") from None
                    epoch, item = epoch + 1, 0
                    source = self.items(epoch, 0)
            self._note(number, group)
            arrays = self.assemble(group, self.random_of_batch(number))
            number += 1
            yield arrays, Place(number, epoch, item)

    def _note(self, number: int, items: list) -> None:
        self._labels[number] = [label for label in map(self.label, items) if label]
        self._labels.pop(number - KEPT, None)

    def random_of_batch(self, number: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, 0, number))

    def random_of_pass(self, epoch: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, 1, epoch))

    def random_skip(self, limit: int) -> int:
        """How many items to leave out at the beginning: of [0, limit)"""
        return int(np.random.default_rng((self.seed, 2)).integers(limit)) if limit else 0
