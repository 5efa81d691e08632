"""The ways of training that the paper compares, in one table.

A step is one training run; a scheme is the steps in their order. mnc.training.schemes runs them.
"""

from __future__ import annotations

from dataclasses import dataclass

ITERATIONS = {"Mini": 1800}        # of a run, all steps together; other nets: 25000


@dataclass(frozen=True)
class Step:
    """One training run."""

    task: str                        # its train net, solver and configuration
    stage: int | None = None         # the one that learns; None: all stages, end to end
    features_of: int | None = None   # the features start from those that this stage has learned
    keep_features: bool = False      # the features do not learn


@dataclass(frozen=True)
class Scheme:
    """Steps, and the task whose five-stage net tests what they learned."""

    title: str
    steps: tuple[Step, ...]
    test: str = "mnc_5stage"


SEPARATE = "mnc_separate"
SCHEMES: dict[str, Scheme] = {
    "a": Scheme("step by step, separate features",
                (Step(SEPARATE, 1), Step(SEPARATE, 2), Step(SEPARATE, 3)), SEPARATE),
    "b": Scheme("step by step, shared features",
                (Step(SEPARATE, 1), Step(SEPARATE, 2, features_of=1),
                 Step(SEPARATE, 3, features_of=2),
                 Step("mnc_3stage", 1, features_of=3, keep_features=True),
                 Step("mnc_3stage", 2, keep_features=True),
                 Step("mnc_3stage", 3, keep_features=True))),
    "c": Scheme("end to end, 3 stages", (Step("mnc_3stage"),)),
    "d": Scheme("end to end, 5 stages", (Step("mnc_5stage"),)),
    "paper": Scheme("end to end, 5 stages, exact gradients", (Step("mnc_5stage_paper"),),
                    "mnc_5stage_paper"),
}
