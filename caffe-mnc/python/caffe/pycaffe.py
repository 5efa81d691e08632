"""pycaffe's module of that name: old code imports Net and the solvers from here."""

from caffe.engine.net import Net
from caffe.engine.solver import SGDSolver, get_solver

__all__ = ["Net", "SGDSolver", "get_solver"]
