"""pycaffe's NCCL: training by several processes as scripts of 2017 write it (python/train.py)."""

from __future__ import annotations

import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import torch.distributed as dist

from caffe.engine import log
from caffe.engine.errors import CaffeError
from caffe.engine.parallel import faults, ranks
from caffe.engine.parallel.team import PATIENCE, Team

if TYPE_CHECKING:
    from caffe.engine.solving.solver import Solver


def has_nccl() -> bool:
    """Whether several processes can train together: over NCCL on GPUs, over gloo on CPUs."""
    return dist.is_available()


class NCCL:
    """The solver's place among those that train together; each is a process of its own.

        uid = caffe.NCCL.new_uid()                          # once, before the processes start
        caffe.set_solver_count(n); caffe.set_solver_rank(k); caffe.set_multiprocess(True)
        nccl = caffe.NCCL(solver, uid)                      # in each
        nccl.bcast()
        solver.add_callback(nccl)
        solver.net.after_backward(nccl)

    The last two change nothing any more: from `bcast` on gradients are averaged. Solvers on CPUs
    meet over gloo. Raises CaffeError for solvers that are threads of one process.
    """

    def __init__(self, solver: Solver, uid: str) -> None:
        self.solver, self._joined = solver, False
        self.team = Team(ranks.solver_rank(), ranks.solver_count())
        if self.team.count == 1:
            return
        if not ranks.multiprocess():
            raise CaffeError("caffe.NCCL: each solver is a process of its own here: say "
                             "caffe.set_multiprocess(True), and start it by multiprocessing "
                             "or torchrun (docs/distributed.md)")
        if not 0 <= self.team.rank < self.team.count:
            raise CaffeError(f"caffe.NCCL: solver_rank {self.team.rank} of {self.team.count}: "
                             "ranks go from 0 to solver_count - 1")
        if solver.net.device.type == "cpu":
            log.info("Solvers on CPUs: they meet over gloo instead of NCCL")
        store = dist.FileStore(uid, self.team.count)
        dist.init_process_group("gloo", store=store, rank=self.team.rank,
                                world_size=self.team.count, timeout=PATIENCE)
        faults.watch(store, self.team.rank, self.team.count)

    @staticmethod
    def new_uid() -> str:
        """A name under which processes of this machine meet: of a file that they will make."""
        return str(Path(tempfile.gettempdir()) / f"caffe-solvers-{uuid.uuid4().hex}")

    def bcast(self) -> None:
        """Take the parameters of solver 0, and train together from now on."""
        if not self._joined:
            self._joined = True
            self.solver.join(self.team)

    def on_start(self) -> None:
        """What `solver.add_callback(nccl)` has called before each iteration."""
        self.bcast()

    def on_gradients_ready(self) -> None:
        """And before each update: the gradients are averaged by then."""

    def __call__(self, layer: int) -> None:
        """What `net.after_backward(nccl)` has called: gradients are under way by then."""
