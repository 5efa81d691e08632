"""This process among those that train one net together, as pycaffe's scripts set it.

Each thread has its own values. Data layers of TRAIN nets read them: worker `solver_rank` of
`solver_count` takes its share of the records.
"""

from __future__ import annotations

import threading


class _Ranks(threading.local):
    count, rank, multiprocess = 1, 0, False


_ranks = _Ranks()


def solver_count() -> int:
    """How many solvers train together."""
    return _ranks.count


def set_solver_count(count: int) -> None:
    _ranks.count = int(count)


def solver_rank() -> int:
    """Which of them this one is, from 0."""
    return _ranks.rank


def set_solver_rank(rank: int) -> None:
    _ranks.rank = int(rank)


def set_multiprocess(on: bool) -> None:
    """Whether each solver is a process of its own."""
    _ranks.multiprocess = bool(on)


def multiprocess() -> bool:
    return _ranks.multiprocess
