"""How well several workers train together: their images a second beside those of one alone.

Only the command mnc.commands.benchmark asks; the measuring is this room's.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from caffe.extend import Sharing, Team
from mnc.benchmarks.machine import machine
from mnc.benchmarks.subjects import Plan, training
from mnc.benchmarks.timing import seconds


def measure_together(plan: Plan, image: np.ndarray, team: Team, repeat: int,
                     sharing: Sharing) -> dict[str, Any]:
    """Figures, JSON-ready, of iterations of one image (H, W, 3) a worker; worker 0's.

    Iterations of worker 0 alone, in which the others wait, of all at once without a word between
    them (what the machine gives), and of all together take turns.
    """
    with tempfile.TemporaryDirectory() as folder:
        subject = training(plan, image, Path(folder))
        solver, step = subject.solver, subject.works["net"]
        solver.param.display = 0            # which would begin the waiting anew
        alone = solver.workers
        solver.join(team, sharing)
        together = solver.workers
        times: dict[str, list[float]] = {"one worker": [], "apart": [], "all": []}
        for turn in range(repeat + 1):
            solver.workers = alone
            times["one worker"].append(seconds(step) if team.rank == 0 else 1.0)
            team.of_the_first(None)
            times["apart"].append(seconds(step))
            solver.workers = together
            team.of_the_first(None)
            if turn == 1:
                together.waited = 0.0       # the first turn is not counted
            times["all"].append(seconds(step))
    one, apart, everybody = (median(each[1:]) for each in times.values())
    return {
        "net": plan.net, "task": plan.task, "size": list(image.shape[:2]),
        "workers": team.count, "threads of each": torch.get_num_threads(),
        "parameters": sum(blob.count for blob in subject.net.learnable_params),
        "compress": sharing.compress, "machine": machine(),
        "seconds": {"one worker": one, "apart": apart, "all": everybody},
        "images a second": {"one worker": 1 / one, "apart": team.count / apart,
                            "all": team.count / everybody},
        "efficiency": one / everybody, "beside apart": apart / everybody,
        "share of waiting": together.waited / sum(times["all"][1:])}


def report(found: dict[str, Any]) -> str:
    """The figures as text."""
    rates, n = found["images a second"], found["workers"]
    rows = (("one worker", rates["one worker"], " images a second"),
            (f"{n} apart", rates["apart"], ", each a training of its own at the same time"),
            (f"{n} together", rates["all"], ""),
            ("efficiency", found["efficiency"], f": of {n} times one worker"),
            ("beside apart", found["beside apart"], ": of what the machine gives so many"),
            ("share of waiting", found["share of waiting"], ""))
    return "\n".join((
        f"{found['net']} {found['task']}, training, {'x'.join(map(str, found['size']))}, "
        f"{found['parameters'] / 1e6:.1f} million parameters, {found['threads of each']} thread(s) "
        f"each; {found['machine']}",
        *(f"{name:20}{value:8.3f}{what}" for name, value, what in rows)))
