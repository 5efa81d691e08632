"""The loop around a solver, and the paper's ways of training."""

from mnc.nets.fit import TrainingError
from mnc.training.loop import SolverWrapper, train

__all__ = ["SolverWrapper", "TrainingError", "train"]
