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
from mnc.benchmarks.subjects import Plan, Subject, training
from mnc.benchmarks.timing import seconds


def measure_together(plan: Plan, image: np.ndarray, team: Team, repeat: int, sharing: Sharing,
                     batch: int | None = None) -> dict[str, Any]:
    """Figures, JSON-ready, of updates of `batch` images (H, W, 3), by default one a worker; worker
    0's.

    Updates of worker 0 alone, in which the others wait, of all at once, each on its share of the
    images without a word between them (what the machine gives), and of all together take turns.
    """
    batch = batch or team.count
    with tempfile.TemporaryDirectory() as folder:
        subject = training(plan, image, Path(folder))
        subject.solver.param.display = 0        # which would begin the waiting anew
        times, waited = _timed(subject, team, repeat, sharing, batch)
    one, own, everybody = map(median, times.values())
    shares = team.gather((own, waited / sum(times["all"]))) or [(own, 0.0)]
    apart = team.count / sum(1 / seconds_of_one for seconds_of_one, _ in shares)
    return {
        "net": plan.net, "task": plan.task, "size": list(image.shape[:2]),
        "workers": team.count, "batch": batch, "threads of each": torch.get_num_threads(),
        "parameters": sum(blob.count for blob in subject.net.learnable_params),
        "compress": sharing.compress, "machine": machine(),
        "seconds": {"one worker": one, "apart": apart, "all": everybody},
        "images a second": {"one worker": batch / one, "apart": batch / apart,
                            "all": batch / everybody},
        "efficiency": one / everybody / team.count, "beside apart": apart / everybody,
        "share of waiting": sum(waited for _, waited in shares) / len(shares)}


def _timed(subject: Subject, team: Team, repeat: int, sharing: Sharing,
           batch: int) -> tuple[dict[str, list[float]], float]:
    """Seconds of each kind of update, at this worker; those that it waited for the others."""
    solver, step = subject.solver, subject.works["net"]
    alone = solver.workers
    solver.join(team, sharing)
    together = solver.workers
    times: dict[str, list[float]] = {"one worker": [], "apart": [], "all": []}
    waited = 0.0
    for turn in range(repeat + 1):          # the first is not counted: it takes memory
        solver.workers, solver.param.iter_size = alone, batch
        if turn:
            times["one worker"].append(seconds(step) if team.rank == 0 else 1.0)
        team.of_the_first(None)
        solver.param.iter_size = batch // team.count if turn else min(batch // team.count, 2)
        apart = seconds(step)
        solver.workers = together
        team.of_the_first(None)
        together.waited = 0.0
        everybody = seconds(step)
        if turn:
            times["apart"].append(apart)
            times["all"].append(everybody)
            waited += together.waited
    return times, waited


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
        f"{found['parameters'] / 1e6:.1f} million parameters, {found['batch']} images an update, "
        f"{found['threads of each']} thread(s) each; {found['machine']}",
        *(f"{name:20}{value:8.3f}{what}" for name, value, what in rows)))
