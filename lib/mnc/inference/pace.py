"""How many images a second: a line when all are done, and now and then before."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

EVERY = 30.0            # seconds between two lines

T = TypeVar("T")

log = logging.getLogger("mnc")


def paced(results: Iterable[T], total: int | None = None, unit: str = "image") -> Iterator[T]:
    """The same, with lines of the log `mnc` (INFO) of how many there are, and how many a second.

    Where it is left or an error ends it the last line is of what there was. What the caller does
    between two results takes none of the seconds.
    """
    source, done, seconds, said = iter(results), 0, 0.0, 0.0
    try:
        while True:
            began = time.monotonic()
            try:
                result = next(source)
            except StopIteration:
                return
            done, seconds = done + 1, seconds + time.monotonic() - began
            if seconds - said >= EVERY:
                said = seconds
                of_all = f" of {total}" if total else ""
                log.info("%s%s, %s", counted(done, unit), of_all,
                         per_second(done, seconds, unit))
            yield result
    finally:
        if done:
            log.info("%s", in_all(done, seconds, unit))


def in_all(number: int, seconds: float, unit: str = "image") -> str:
    """`100 images in 4.0 s, 25.00 images a second`"""
    return f"{counted(number, unit)} in {seconds:.1f} s, {per_second(number, seconds, unit)}"


def per_second(number: int, seconds: float, unit: str = "image") -> str:
    """`25.00 images a second`"""
    return f"{number / max(seconds, 1e-9):.2f} {unit}s a second"


def counted(number: int, unit: str = "image") -> str:
    """`100 images`, `1 image`"""
    return f"{number} {unit}{'s' * (number != 1)}"
