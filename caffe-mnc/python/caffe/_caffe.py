"""What pycaffe's compiled module held, under its names: `import caffe._caffe` keeps working.

The containers of the C++ program (BlobVec, IntVec ...) are lists here.
"""

from __future__ import annotations

from typing import NoReturn

from caffe.engine import log as _log
from caffe.engine.blob import Blob
from caffe.engine.compat.ranks import (
    set_multiprocess,
    set_solver_count,
    set_solver_rank,
    solver_count,
    solver_rank,
)
from caffe.engine.compat.timer import Timer
from caffe.engine.device import set_device, set_mode_cpu, set_mode_gpu
from caffe.engine.errors import CaffeError
from caffe.engine.layer import LAYERS, BlobList, Layer
from caffe.engine.net.net import Net
from caffe.engine.random import set_random_seed
from caffe.engine.solving.solver import Solver
from caffe.engine.solving.update_rules import (
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    NesterovSolver,
    RMSPropSolver,
    SGDSolver,
    get_solver,
)
from caffe.proto.caffe_pb2 import LayerParameter, SolverParameter

__version__ = "1.0.0"

__all__ = [
    "NCCL",
    "AdaDeltaSolver",
    "AdaGradSolver",
    "AdamSolver",
    "Blob",
    "BlobVec",
    "BoolVec",
    "DtypeVec",
    "IntVec",
    "Layer",
    "LayerParameter",
    "LayerVec",
    "NesterovSolver",
    "Net",
    "NetVec",
    "RMSPropSolver",
    "RawBlobVec",
    "SGDSolver",
    "Solver",
    "SolverParameter",
    "StringVec",
    "Timer",
    "get_solver",
    "has_nccl",
    "init_log",
    "layer_type_list",
    "log",
    "set_device",
    "set_mode_cpu",
    "set_mode_gpu",
    "set_multiprocess",
    "set_random_seed",
    "set_solver_count",
    "set_solver_rank",
    "solver_count",
    "solver_rank",
]

BlobVec = BlobList
RawBlobVec = LayerVec = NetVec = StringVec = IntVec = DtypeVec = BoolVec = list


def layer_type_list() -> list[str]:
    """The layer types a prototxt may name."""
    return LAYERS.names()


def init_log(level: int | None = None, stderr: bool | None = None) -> None:
    """Set up the log: lowest level (0 info ... 3 fatal), whether to stderr alone.

    What is not given comes from the environment: GLOG_minloglevel, GLOG_logtostderr, GLOG_log_dir.
    """
    _log.configure(level, stderr)


def log(message: str) -> None:
    """Write an info line to Caffe's log."""
    _log.info("%s", message, depth=1)


def has_nccl() -> bool:
    """Whether training on several devices can be had: not yet."""
    return False


class NCCL:
    """Training on several devices. Not there yet: making one says so."""

    def __init__(self, solver: Solver, uid: str) -> None:
        _no_nccl()

    @staticmethod
    def new_uid() -> str:
        _no_nccl()

    def bcast(self) -> None:
        _no_nccl()


def _no_nccl() -> NoReturn:
    raise CaffeError("caffe.NCCL: training on several devices is not there yet; train on one, with "
                     "iter_size in the solver file for larger batches")
