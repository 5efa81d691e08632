"""The processes that torchrun starts to do one job together, worker 0 to N-1; alone without it.

    with together() as team:
        parts = team.gather(work(range(100)[team.rank::team.count]))     # None but at worker 0
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch.distributed as dist

PATIENCE = timedelta(days=7)        # a worker may wait long for the slowest


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

    rank: int
    count: int

    def gather(self, value: Any) -> list[Any] | None:
        """The values of all workers, at worker 0; None elsewhere."""
        if self.count == 1:
            return [value]
        found = [None] * self.count if self.rank == 0 else None
        dist.gather_object(value, found)
        return found

    def of_the_first(self, value: Any) -> Any:
        """The value that worker 0 gives."""
        if self.count == 1:
            return value
        shared = [value]
        dist.broadcast_object_list(shared)
        return shared[0]


@contextmanager
def together() -> Iterator[Team]:
    """All workers for the block; they talk over gloo, as torchrun's environment says."""
    team = Team(rank(), count())
    if team.count > 1:
        dist.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield team
    finally:
        if team.count > 1:
            dist.destroy_process_group()
