"""How many bottoms or tops a layer takes."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Arity:
    """From `least` to `most`."""

    least: int
    most: float

    def __contains__(self, count: int) -> bool:
        return self.least <= count <= self.most

    def __str__(self) -> str:
        if self.most == self.least:
            return f"{self.least}"
        return f"{self.least} or more" if math.isinf(self.most) else f"{self.least} to {self.most}"


def exactly(count: int) -> Arity:
    return Arity(count, count)


def at_least(count: int) -> Arity:
    return Arity(count, math.inf)


def between(least: int, most: int) -> Arity:
    return Arity(least, most)
