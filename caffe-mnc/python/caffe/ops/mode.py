"""Two arithmetics: that of a public program, and that of the paper or the derivative."""

from __future__ import annotations

import enum


class Mode(enum.IntEnum):
    """As caffe.proto numbers them in every message that has a mode."""

    REFERENCE = 0       # what the public code computes, departures included
    EXACT = 1           # the equations of the paper; the true derivative

    @classmethod
    def named(cls, word: str) -> Mode:
        """Of "reference" or "exact", as settings spell them; raises ValueError for other words."""
        if word.upper() not in cls.__members__:
            raise ValueError(f'mode must be "reference" or "exact", got {word!r}')
        return cls[word.upper()]


def check_mode(op: str, mode: int) -> int:
    """The number for an operator; raises ValueError if it is none."""
    if mode not in (0, 1):
        raise ValueError(f"{op}: mode must be 0 (REFERENCE) or 1 (EXACT), got {mode}")
    return int(mode)
