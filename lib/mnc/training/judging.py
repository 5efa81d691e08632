"""The net in training is measured now and then: its best weights are kept, and it may be given up.

What measures is handed in (mnc.validation), so that training knows no testing.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import caffe
from caffe.extend import Metrics, Solver, Team, unchanged_random

log = logging.getLogger("mnc")


class Workers(Protocol):
    """Those that train together, from the place of one of them: `solver.workers`."""

    def deal(self, items: int) -> Iterator[int]:
        """The numbers of those items that this one is to do."""

    def gathered(self, part: Any) -> list[Any] | None:
        """What all have done of them, at worker 0; None elsewhere."""


class Validation(Protocol):
    """How weights are measured, and when."""

    name: str               # of the data
    every: int              # iterations
    patience: int           # validations without a better one that end training; 0: none do
    figures: list[str]      # names of all, the one that decides first

    def measure(self, net: caffe.Net, tell: Callable[[int, int], bool],
                workers: Workers) -> dict[str, float] | None:
        """Figures of these weights, at worker 0 of those that share the images; None elsewhere.

        tell(images done, of so many) says whether to go on; None where it did not let it.
        """

    def pictures(self, folder: Path) -> list[str]:
        """Draw what was found last; the names of the files in `folder`."""


class Judge:
    """Validates a net in training, after updates, without leaving a trace in it.

    keep: writes the weights as they are tested, with their settings. The workers of a team share
    the images; the first decides and writes.
    """

    shared_place = True

    def __init__(self, solver: Solver, metrics: Metrics, validation: Validation, *, folder: Path,
                 keep: Callable[[dict[str, float]], Path], team: Team | None = None) -> None:
        self.solver, self.metrics, self.validation = solver, metrics, validation
        self.folder, self._keep, self.team = folder, keep, team or Team()
        self.best, self.best_at, self.best_file = -math.inf, 0, ""
        self.seen_at = solver.iter          # the iteration of the last validation
        self.worse = 0                      # validations since the best
        self.gave_up = False
        self.tell: Callable[[int, int], object] = lambda done, images: None
        solver.companions["validation"] = self
        solver.after_update.append(self.look)

    @property
    def main(self) -> str:
        """The figure that decides."""
        return self.validation.figures[0]

    def look(self) -> None:
        """Validate if that is due: every so many iterations, and at the end."""
        now, every = self.solver.iter, self.validation.every
        if now // every > self.seen_at // every or self.seen_at < now == self.metrics.end:
            self.validate()

    def validate(self) -> None:
        """Measure the weights as a snapshot would hold them, and keep them if they are the best."""
        solver = self.solver
        with unchanged_random(), self.metrics.paused(), solver.export(solver.net):
            solver.workers.share_statistics()
            found = self.validation.measure(solver.net, self._go_on, solver.workers)
            if found is not None:
                self._judge(found)
        if found is None and not self.team.rank:
            log.info("Iteration %d: validation was broken off", solver.iter)
        self.restore_state(self.team.of_the_first(self.snapshot_state()))
        patience = self.validation.patience
        if patience and self.worse >= patience and self.seen_at == solver.iter < self.metrics.end:
            self.gave_up = solver.stop_requested = True
        solver.workers.agree_to_stop()

    def _judge(self, found: dict[str, float]) -> None:
        better = found[self.main] > self.best
        if better:
            self.best, self.best_at = found[self.main], self.solver.iter
            self.best_file = str(self._keep(found))
        self.worse = 0 if better else self.worse + 1
        self.seen_at = self.solver.iter
        self._report(found, self.validation.pictures(self.folder), better)

    def _go_on(self, done: int, images: int) -> bool:
        self.tell(done, images)
        return not self.solver.stop_requested

    def _report(self, found: dict[str, float], pictures: list[str], better: bool) -> None:
        self.metrics.report(validation={name: round(value, 5) if math.isfinite(value) else None
                                        for name, value in found.items()},
                            main=self.main, best=better, pictures=pictures)
        text = ", ".join(f"{name} = {100 * value:.1f}" for name, value in found.items())
        log.info("Iteration %d, validation on %s: %s%s", self.solver.iter, self.validation.name,
                 text, " (best so far)" if better else
                 f" (best: {100 * self.best:.1f} at iteration {self.best_at})")

    # --- in the solver state ----------------------------------------------------------------

    def snapshot_state(self) -> bytes:
        """The best so far, and since when nothing was better."""
        return json.dumps([self.main, self.best, self.best_at, self.best_file, self.seen_at,
                           self.worse]).encode()

    def restore_state(self, state: bytes) -> None:
        """Go on from there, if the same figure decides; else the best is found anew."""
        main, *rest = json.loads(state)
        if main == self.main:
            self.best, self.best_at, self.best_file, self.seen_at, self.worse = rest
