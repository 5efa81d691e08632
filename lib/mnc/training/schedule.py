"""How long to train and how fast: what mnc.commands.train is told, laid over a solver.

A solver made for a data set takes its steps from the length of the training. One of the user's own
keeps what it says but for what is asked for by name, and its file is never written.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from caffe.extend import read_solver
from caffe.proto import caffe_pb2
from mnc.nets.fit import TrainingError, train_net_path

DROP = 0.8                  # of the iterations, at full rate; then gamma times it ("step")
PASSES, LEAST, MOST = 3, 1550, 40000        # over one's own images; iterations
PEAK, WARMUP = 1.7, 0.05    # times the solver's rate; of the iterations
POWER = 0.9                 # of "poly"


@dataclass(frozen=True)
class Schedule:
    """None: what the solver says."""

    iterations: int
    lr: float | None = None         # base_lr
    policy: str | None = None       # "step", "cosine" or "poly", over all iterations
    warmup: int = 0                 # iterations in which the rate rises from near 0
    batch: int | None = None        # images of an update: iter_size
    clip: float | None = None       # clip_gradients

    def __post_init__(self) -> None:
        """Raises TrainingError for a rate or a number that nothing could be trained with."""
        if self.lr is not None and not (math.isfinite(self.lr) and self.lr > 0):
            raise TrainingError(f"--lr must be more than 0, got {self.lr:g}")
        if self.clip is not None and not (math.isfinite(self.clip) and self.clip > 0):
            raise TrainingError(f"--clip must be more than 0, got {self.clip:g}")
        if not 0 <= self.warmup <= max(self.iterations, 0):
            raise TrainingError(f"--warmup must be from 0 to the {self.iterations} iterations of "
                                f"the training, got {self.warmup}")

    @classmethod
    def usual(cls, iterations: int, base_lr: float, batch: int | None = None,
              clip: float | None = None) -> Schedule:
        """A cosine with a warm-up, from a higher rate, of which it has half in the mean."""
        return cls(iterations, float(f"{PEAK * base_lr:.2g}"), "cosine",
                   round(WARMUP * iterations), batch, clip)

    def over(self, param: Any) -> caffe_pb2.SolverParameter:
        """A copy of a SolverParameter with this schedule."""
        result = caffe_pb2.SolverParameter()
        result.CopyFrom(param)
        if self.lr is not None:
            result.base_lr = self.lr
        if self.batch is not None:
            result.iter_size = self.batch
        if self.clip is not None:
            result.clip_gradients = self.clip
        if self.policy is not None:
            result.lr_policy, result.max_iter = self.policy, max(self.iterations, 1)
            result.ClearField("stepsize")
            if self.policy == "step":
                result.stepsize = max(round(DROP * self.iterations), 1)
            if self.policy == "poly":
                result.power = POWER
        return result

    def over_file(self, path: str | Path) -> caffe_pb2.SolverParameter:
        """The solver of a file; its net and its snapshot prefix are found as from the file."""
        result = self.over(read_solver(str(path)))
        setattr(result, "train_net" if result.train_net else "net", str(train_net_path(path)))
        if not result.HasField("snapshot_prefix"):
            result.snapshot_prefix = str(Path(path).with_suffix(""))
        return result

    def rewrite(self, path: Path) -> None:
        """A generated solver file, its first line as it is."""
        first = path.read_text().partition("\n")[0]
        content = text_format.MessageToString(self.over(read_solver(str(path))))
        path.write_text(f"{first}\n{content}")

    def warming(self, iteration: int) -> float:
        """The factor on the rate: (iteration + 1) / (warmup + 1), up to 1."""
        return min((iteration + 1) / (self.warmup + 1), 1.0)

    @property
    def changes_solver(self) -> bool:
        """Whether anything in the solver's file is to be otherwise."""
        return any(each is not None for each in (self.lr, self.policy, self.batch, self.clip))


def iterations_of(epochs: float, images: int, batch: int) -> int:
    """So many passes over the images, `batch` of them an update, rounded up.

    Raises TrainingError unless epochs is more than 0.
    """
    if not (math.isfinite(epochs) and epochs > 0):
        raise TrainingError(f"--epochs must be more than 0, got {epochs:g}")
    return math.ceil(epochs * images / batch)


def usual_iterations(images: int, batch: int) -> int:
    """On data of one's own, where nothing is said: PASSES over it, LEAST to MOST iterations."""
    return min(max(iterations_of(PASSES, images, batch), LEAST), MOST)
