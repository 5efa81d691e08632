"""The net in training is measured now and then: its best weights are kept, and it may be given up.

What measures is handed in (mnc.validation), so that training knows no testing.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import caffe
from caffe.extend import Metrics, Solver, Team, unchanged_random

log = logging.getLogger("mnc")


class Validation(Protocol):
    """How weights are measured, and when."""

    name: str               # of the data
    every: int              # iterations
    patience: int           # validations without a better one that end training; 0: none do
    figures: list[str]      # names of all, the one that decides first

    def measure(self, net: caffe.Net, tell: Callable[[int, int], bool]) -> dict[str, float] | None:
        """Figures of these weights; tell(images done, of so many) says whether to go on."""

    def pictures(self, folder: Path) -> list[str]:
        """Draw what was found last; the names of the files in `folder`."""


class Judge:
    """Validates a net in training, after updates, without leaving a trace in it.

    keep: writes the weights as they are tested, with their settings. Of the workers of a team the
    first measures, the others wait for it.
    """

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
        if self.team.count > 1:
            self._look_together(now % every == 0 or now == self.metrics.end)
        elif now // every > self.seen_at // every or self.seen_at < now == self.metrics.end:
            self.validate()

    def _look_together(self, due: bool) -> None:
        """As all workers tell alike; they wait for the first as long as it takes."""
        if due and not self.team.rank:
            self.validate()
        if due:
            self.team.of_the_first(None)

    def validate(self) -> None:
        """Measure the weights as a snapshot would hold them, and keep them if they are the best."""
        with unchanged_random(), self.metrics.paused(), self.solver.export(self.solver.net):
            found = self.validation.measure(self.solver.net, self._go_on)
            if found is None:
                log.info("Iteration %d: validation was broken off", self.solver.iter)
                return
            better = found[self.main] > self.best
            if better:
                self.best, self.best_at = found[self.main], self.solver.iter
                self.best_file = str(self._keep(found))
            self.worse = 0 if better else self.worse + 1
            pictures = self.validation.pictures(self.folder)
        self.seen_at = self.solver.iter
        self._report(found, pictures, better)
        patience = self.validation.patience
        if patience and self.worse >= patience and self.solver.iter < self.metrics.end:
            self.gave_up = self.solver.stop_requested = True

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
