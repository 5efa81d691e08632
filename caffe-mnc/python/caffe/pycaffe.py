"""pycaffe's module of that name: old code imports Net and the solvers from here."""

from caffe._caffe import (
    NCCL,
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    NesterovSolver,
    Net,
    RMSPropSolver,
    SGDSolver,
    Timer,
    get_solver,
)

__all__ = ["NCCL", "AdaDeltaSolver", "AdaGradSolver", "AdamSolver", "NesterovSolver", "Net",
           "RMSPropSolver", "SGDSolver", "Timer", "get_solver"]
