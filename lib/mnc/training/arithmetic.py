"""How a training computes, beside what its solver says: precision, an average of the weights."""

from __future__ import annotations

from caffe.extend import Solver, WeightAverage
from mnc.config import cfg


def take_settings(solver: Solver) -> None:
    """TRAIN.PRECISION and TRAIN.EMA, for a solver that has its `export` and initial weights.

    Raises CaffeError for a decay that is none.
    """
    solver.net.set_precision("bfloat16" if cfg.TRAIN.PRECISION == "bf16" else None)
    if cfg.TRAIN.EMA:
        WeightAverage(solver, cfg.TRAIN.EMA)
