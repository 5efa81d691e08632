"""The loop around a solver, and the paper's ways of training."""

from mnc.training.loop import SolverWrapper, TrainingError, train

__all__ = ["SolverWrapper", "TrainingError", "train"]
