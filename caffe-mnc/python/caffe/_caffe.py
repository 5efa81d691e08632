"""What pycaffe's compiled module held, under its names: `import caffe._caffe` keeps working.

The containers of the C++ program (BlobVec, IntVec ...) are lists here.
"""

from __future__ import annotations

from caffe.engine import log as _log
from caffe.engine.blob import Blob
from caffe.engine.compat.timer import Timer
from caffe.engine.device import set_device, set_mode_cpu, set_mode_gpu
from caffe.engine.layer import LAYERS, BlobList, Layer
from caffe.engine.net.net import Net
from caffe.engine.parallel.nccl import NCCL, has_nccl
from caffe.engine.parallel.ranks import (
    set_multiprocess,
    set_solver_count,
    set_solver_rank,
    solver_count,
    solver_rank,
)
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
from caffe.engine.version import VERSION
from caffe.proto.caffe_pb2 import LayerParameter, SolverParameter

__version__ = VERSION

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
