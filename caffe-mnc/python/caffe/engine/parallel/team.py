"""The processes that do one job together, worker 0 to N-1, as torchrun starts them; or one alone.

    with together() as team:
        parts = team.gather(work(range(100)[team.rank::team.count]))     # None but at worker 0
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist

from caffe.engine import log
from caffe.engine.errors import CaffeError
from caffe.engine.parallel import faults, ranks

PATIENCE = timedelta(days=7)        # a worker may wait long for the slowest
T = TypeVar("T")


def rank() -> int:
    """Which worker this process is."""
    return int(os.environ.get("RANK", 0))


def local_rank() -> int:
    """Which of those on this machine."""
    return int(os.environ.get("LOCAL_RANK", 0))


def count() -> int:
    """How many workers there are."""
    return int(os.environ.get("WORLD_SIZE", 1))


@dataclass(frozen=True)
class Team:
    """The workers from the place of one of them. What they exchange can be pickled."""

    rank: int = 0
    count: int = 1
    store: Any = field(default=None, compare=False)     # where they have met
    _dealt: Iterator[int] = field(default_factory=itertools.count, compare=False)

    def deal(self, items: int) -> Iterator[int]:
        """Numbers of items, each at one worker only: at the first that is free for it.

        All workers deal the same in the same order.
        """
        if self.store is None:
            yield from range(self.rank, items, self.count)
            return
        name = f"dealt/{next(self._dealt)}"
        while (number := self.store.add(name, 1) - 1) < items:
            yield number

    def gather(self, value: Any) -> list[Any] | None:
        """The values of all workers, at worker 0; None elsewhere."""
        if self.count == 1:
            return [value]
        found = [None] * self.count if self.rank == 0 else None
        with faults.exchanging("handing in"):
            dist.gather_object(value, found)
        return found

    def of_the_first(self, value: Any) -> Any:
        """The value that worker 0 gives."""
        if self.count == 1:
            return value
        shared = [value]
        with faults.exchanging("waiting for worker 0"):
            dist.broadcast_object_list(shared)
        return shared[0]

    def done_by_the_first(self, work: Callable[[], T]) -> T:
        """What `work()` returns at worker 0. Raises its error there, CaffeError elsewhere."""
        result, problem = None, None
        if self.rank == 0:
            try:
                result = work()
            except Exception as error:
                self.of_the_first((None, f"worker 0: {type(error).__name__}: {error}"))
                raise
        result, problem = self.of_the_first((result, None))
        if problem:
            raise CaffeError(problem)
        return result

    @contextmanager
    def behind_the_first(self) -> Iterator[None]:
        """The block runs at worker 0, then at the others, which find the files it has made."""
        if self.rank:
            self.of_the_first(None)
        yield
        if not self.rank:
            self.of_the_first(None)


ALONE = Team()


@contextmanager
def together(whole_log: bool = False) -> Iterator[Team]:
    """All workers for the block; they talk over gloo, as torchrun's environment says.

    Where one ends by an error, its name and traceback are in the log, and the others learn of it.
    Of workers but the first the log has warnings only, unless `whole_log`.
    """
    team = Team(rank(), count())
    if team.count == 1:
        yield team
        return
    log.of_worker(team.rank, whole_log)
    store, number, size = next(dist.rendezvous("env://", timeout=PATIENCE))
    store = faults.of_this_attempt(store)
    dist.init_process_group("gloo", store=store, rank=number, world_size=size, timeout=PATIENCE)
    ranks.set_solver_rank(team.rank)
    ranks.set_solver_count(team.count)
    ranks.set_multiprocess(True)
    try:
        with faults.told(store, team.rank, team.count):
            yield replace(team, store=store)
    finally:
        ranks.set_solver_rank(0)
        ranks.set_solver_count(1)
        ranks.set_multiprocess(False)
        dist.destroy_process_group()
