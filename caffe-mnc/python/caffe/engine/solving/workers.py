"""What solvers that train one net together exchange, and what one does that trains alone.

Worker 0 decides and writes; all make the same updates. Each iteration they agree: on the mean loss,
on a stop or a snapshot that one of them was asked for. Then they have the mean gradients.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist

from caffe.engine import log, random
from caffe.engine.errors import CaffeError
from caffe.engine.parallel.faults import exchanging
from caffe.engine.parallel.reducer import Reducer
from caffe.engine.parallel.team import Team
from caffe.engine.solving import pairs, state

if TYPE_CHECKING:
    from caffe.engine.blob import Blob
    from caffe.engine.solving.solver import Solver

COMPRESSIONS = {"": None, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Sharing:
    """How workers train together.

    limit: seconds after which a worker that does not come counts as hanging. compress: "bf16"
    sends gradients in half the bytes. sync_bn: BatchNorm and BN take the statistics of the batches
    of all workers, not of their own.
    """

    limit: float = 300.0
    compress: str = ""
    sync_bn: bool = False


BY_DEFAULT = Sharing()


class Alone:
    """A solver that trains by itself."""

    rank, count = 0, 1

    def __init__(self, solver: Solver) -> None:
        self.solver = solver

    def begin(self) -> None:
        """A call of `step` begins."""

    @property
    def stopping(self) -> bool:
        """Whether training is to stop here."""
        return self.solver.stop_requested

    @property
    def wants_snapshot(self) -> bool:
        """Whether somebody has asked for one since the last."""
        return self.solver.snapshot_requested

    def last_pass(self) -> None:
        """The next backward pass completes the gradients of an iteration."""

    def agree(self, loss: float) -> float:
        """The loss of the iteration: the mean of all workers'."""
        return loss

    def any(self, here: bool) -> bool:
        """Whether this holds at one of the workers."""
        return here

    def collect(self) -> None:
        """Before a snapshot: what the others keep goes to worker 0."""

    def collected(self) -> dict[str, np.ndarray]:
        """What has come so for a state of the present iteration, by name. Arrays of any shape."""
        return {}

    def share_statistics(self) -> None:
        """Before a test: those of BatchNorm and the like are worker 0's everywhere."""

    def tested(self, part: Any) -> list[Any]:
        """What the workers have of a test, each its share."""
        return [part]

    def agree_to_stop(self) -> None:
        """Where one of them has been asked to, or has found a reason: here, not an iteration later.
        """

    def deal(self, items: int) -> Iterator[int]:
        """The numbers of those items that this worker is to do, one when it is ready for it."""
        return iter(range(items))

    def gathered(self, part: Any) -> list[Any] | None:
        """What all have done of them, at worker 0; None elsewhere."""
        return [part]

    def report(self) -> None:
        """Say how the workers keep pace."""

    def resume(self, where: str | os.PathLike[str]) -> str | None:
        """Go on from what is there; the state's name, or None."""
        pair = pairs.find(self.solver, where)
        if pair is None:
            return None
        state.restore(self.solver, pair)
        if pair.workers != 1:
            log.warning(_OTHER_NUMBER, pair.path, pair.workers, "one trains alone")
        return pair.path


_OTHER_NUMBER = ("%s: written by %d workers, now %s: an update sees another number of images; each "
                 "pass over the data goes on where it was, with other random numbers")


class Workers(Alone):
    """One of those that train together; made by `Solver.join`, at the same time in all of them."""

    def __init__(self, solver: Solver, team: Team, sharing: Sharing) -> None:
        super().__init__(solver)
        if sharing.compress not in COMPRESSIONS:
            raise CaffeError(f"compress: bf16 or nothing, got {sharing.compress!r}")
        self.team, self.rank, self.count = team, team.rank, team.count
        limit = timedelta(seconds=sharing.limit)
        with exchanging("meeting the others"):
            dist.barrier()                  # whoever prepares longer than the limit may
            self.group = dist.new_group(backend="gloo", timeout=limit)
            backend = "nccl" if solver.net.device.type == "cuda" and dist.is_nccl_available() \
                else "gloo"
            self.gradients = dist.new_group(backend=backend, timeout=limit)
        self.reducer = Reducer(solver.net, self.count, self.gradients,
                               COMPRESSIONS[sharing.compress])
        self.waited = self.worked = 0.0     # seconds since the last report
        self._seconds = [0.0] * self.count  # of work since then, by worker
        self._stop = False
        self._began = time.perf_counter()
        self._parent = os.getppid()
        self._collected: tuple[int, dict[str, np.ndarray]] = -1, {}
        if sharing.sync_bn:
            self._synchronise_statistics()
        solver.net.after_backward(self.reducer)
        self.follow_the_first()
        random.diverge(self.rank)
        self._introduce()

    def _introduce(self) -> None:
        solver, n = self.solver, self.count
        batch = next((node.top[0].shape[0] for node in solver.net.nodes
                      if not node.bottom and node.top and node.top[0].shape), 1)
        k = solver.param.iter_size
        log.info("Training with %d workers: an update takes the mean of %d passes (%d workers x "
                 "iter_size %d) of batch %d, %d in all", n, n * k, n, k, batch, n * k * batch)

    def _synchronise_statistics(self) -> None:
        layers = [layer for layer in self.solver.net.layers if hasattr(layer, "synchronise")]
        for layer in layers:
            layer.synchronise(self._sum)
        log.info("sync_bn: %d layers take the statistics of all workers", len(layers))

    def _sum(self, values: torch.Tensor) -> torch.Tensor:
        """Over the workers, in place. Of any shape."""
        with exchanging(f"iteration {self.solver.iter}"):
            dist.all_reduce(values, group=self.gradients)
        return values

    # --- an iteration -----------------------------------------------------------------------

    def begin(self) -> None:
        self._stop = False
        self._began = time.perf_counter()

    @property
    def stopping(self) -> bool:
        return self._stop

    @property
    def wants_snapshot(self) -> bool:
        return self._snapshot

    def last_pass(self) -> None:
        self.reducer.active = True

    def agree(self, loss: float) -> float:
        """The mean loss, and the mean gradients in place of this worker's."""
        solver, n = self.solver, self.count
        self.reducer.active = False
        worked = time.perf_counter() - self._began
        orphan = os.getppid() != self._parent       # who started us is gone: nobody ends us
        mine = torch.zeros(2 * n + 2, dtype=torch.float64)
        mine[self.rank], mine[n + self.rank] = loss, worked
        mine[2 * n:] = torch.tensor([solver.stop_requested or orphan, solver.snapshot_requested])
        began = time.perf_counter()
        with exchanging(f"iteration {solver.iter}"):
            dist.all_reduce(mine, group=self.group)
            self.reducer.finish()
        found = mine.tolist()
        self.waited += time.perf_counter() - began
        self.worked += worked
        self._seconds = [a + b for a, b in zip(self._seconds, found[n:2 * n])]
        self._stop, self._snapshot = found[2 * n] > 0, found[2 * n + 1] > 0
        solver.stop_requested = solver.stop_requested or self._stop
        self._began = time.perf_counter()
        return sum(found[:n]) / n

    def any(self, here: bool) -> bool:
        return any(self._everyones(here))

    def _everyones(self, value: Any) -> list[Any]:
        found: list[Any] = [None] * self.count
        with exchanging(f"iteration {self.solver.iter}"):
            dist.all_gather_object(found, value, group=self.group)
        return found

    def report(self) -> None:
        whole = self.worked + self.waited
        if not whole:
            return
        slowest = max(range(self.count), key=self._seconds.__getitem__)
        log.info("    Workers: %s s of work, the longest worker %d; worker %d waited %.0f %% of "
                 "the time", ", ".join(f"{s:.2f}" for s in self._seconds), slowest, self.rank,
                 100 * self.waited / whole)
        self.waited = self.worked = 0.0
        self._seconds = [0.0] * self.count

    def tested(self, part: Any) -> list[Any]:
        parts = self._everyones((part, self.solver.stop_requested))
        self._stop = any(stop for _, stop in parts)
        return [each for each, _ in parts]

    def agree_to_stop(self) -> None:
        self._stop = self.any(self.solver.stop_requested)

    def deal(self, items: int) -> Iterator[int]:
        return self.team.deal(items)

    def gathered(self, part: Any) -> list[Any] | None:
        parts: list[Any] | None = None if self.rank else [None] * self.count
        with exchanging(f"iteration {self.solver.iter}"):
            dist.gather_object(part, parts, group=self.group)
        return parts

    # --- snapshots --------------------------------------------------------------------------

    def collect(self) -> None:
        own = state.own_extra(self.solver) if self.rank else {}
        parts = self._everyones(own)
        self._collected = self.solver.iter, {
            f"worker/{rank}/{key}": value for rank, part in enumerate(parts)
            for key, value in part.items()}

    def collected(self) -> dict[str, np.ndarray]:
        iteration, extra = self._collected
        if iteration != self.solver.iter:
            log.warning("A snapshot without the other workers: resuming begins their random "
                        "numbers anew")
            return {}
        return extra

    def resume(self, where: str | os.PathLike[str]) -> str | None:
        """Worker 0 reads the files; the others get all from it."""
        def read() -> tuple[str, int, dict[str, np.ndarray]] | None:
            pair = pairs.find(self.solver, where)
            if pair is None:
                return None
            state.restore(self.solver, pair)
            return pair.path, pair.workers, pair.state.extra

        found = self.team.done_by_the_first(read)
        if found is None:
            return None
        path, before, extra = found
        self.follow_the_first()
        beginning = f"worker/{self.rank}/"
        own = {key.removeprefix(beginning): value for key, value in extra.items()
               if key.startswith(beginning)}
        if before == self.count and (own or not self.rank):
            state.take_up(self.solver, own, path)
            return path
        log.warning(_OTHER_NUMBER, path, before, f"there are {self.count}")
        if self.rank:
            random.diverge(self.rank + self.count * self.solver.iter)
        return path

    # --- all like worker 0 -------------------------------------------------------------------

    def follow_the_first(self) -> None:
        """Parameters, buffers, iteration and the place in the data become those of worker 0."""
        solver = self.solver
        for tensor in (*(blob.tensor for blob in solver.net.learnable_params), *solver.history):
            self._send(tensor)
        places = self.team.of_the_first(
            (solver.iter, solver.current_step, state.shared_places(solver)))
        solver.iter, solver.current_step, shared = places
        state.take_up(solver, shared if self.rank else {}, "worker 0")

    def share_statistics(self) -> None:
        for blob in _statistics(self.solver):
            self._send(blob.tensor)

    def _send(self, tensor: torch.Tensor) -> None:
        whole = tensor.contiguous()
        with exchanging("following worker 0"):
            dist.broadcast(whole, 0, group=self.gradients)
        if whole is not tensor:
            tensor.copy_(whole)


def _statistics(solver: Solver) -> list[Blob]:
    return [blob for layer in solver.net.layers for i, blob in enumerate(layer.blobs)
            if layer.is_statistic(i)]
