"""How much memory nets may take: declared sizes are held against it before any is taken.

A dimension, a number of outputs or a kernel is a few characters of a text file; the arrays it asks
for can be larger than the machine. The limit holds for the values of each blob, and for those of
all parameters of a net together; gradients are not counted.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from caffe.engine.errors import CaffeError

_CGROUP = Path("/sys/fs/cgroup/memory.max")     # of a container; "max" where there is none

_limit: float | None = None
_building = threading.local()


class SizeError(CaffeError, ValueError):
    """A shape that no blob can have, or arrays that exceed the limit of memory."""


def set_memory_limit(size: float | None = None) -> None:
    """Nets made from now on take at most `size` bytes; None: the machine's memory, the default.

    Raises ValueError if it is not positive.
    """
    global _limit
    if size is not None and not size > 0:
        raise ValueError(f"set_memory_limit: takes a number of bytes, got {size}")
    _limit = size


def memory_limit() -> float:
    """The bytes that nets may take."""
    return _machine() if _limit is None else _limit


def _machine() -> float:
    """The memory of the machine or of the container; infinite where the system does not say."""
    found = math.inf
    with suppress(OSError, ValueError, AttributeError):
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):
        found = min(found, int(_CGROUP.read_text()))
    return found


def check(shape: Sequence[int], itemsize: int) -> int:
    """The bytes of an array; SizeError if it cannot be, or is larger than the limit alone."""
    if any(n < 0 for n in shape):
        raise SizeError(f"a blob cannot have the shape {tuple(shape)}")
    size = math.prod(shape) * itemsize
    if size > _SMALL and size > memory_limit():
        raise SizeError(f"a blob of the shape {tuple(shape)} takes {_words(size)}; the limit is "
                        f"{_words(memory_limit())} (caffe.set_memory_limit)")
    return size


_SMALL = 1 << 20        # bytes; below, the limit is not looked up


@contextmanager
def building() -> Iterator[None]:
    """What is claimed in the block, in this thread, is added up: the arrays of one net."""
    before = getattr(_building, "taken", None)
    _building.taken = 0
    try:
        yield
    finally:
        _building.taken = before


def claim(shape: Sequence[int], itemsize: int) -> None:
    """Count an array of the net that is built; SizeError if all together exceed the limit."""
    size = check(shape, itemsize)
    taken = getattr(_building, "taken", None)
    if taken is None:
        return
    _building.taken = taken + size
    if size > _SMALL and _building.taken > memory_limit():
        raise SizeError(f"with the shape {tuple(shape)} the net takes {_words(_building.taken)}; "
                        f"the limit is {_words(memory_limit())} (caffe.set_memory_limit)")


def _words(size: float) -> str:
    return f"{size / 2**30:.3g} GB"


def largest_number(message: Any, path: str = "") -> tuple[float, str]:
    """(value, "field.field") of the largest whole number in the options of a layer; (0, "")."""
    best: tuple[float, str] = (0, "")
    for field, value in message.ListFields():
        name = f"{path}.{field.name}" if path else field.name
        for each in value if isinstance(value, Sequence) and not isinstance(
                value, (str, bytes)) else [value]:
            if hasattr(each, "ListFields"):
                best = max(best, largest_number(each, name))
            elif isinstance(each, int) and not isinstance(each, bool) and field.enum_type is None:
                best = max(best, (abs(each), name))
    return best
