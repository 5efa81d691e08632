"""When snapshots are taken, and what happens where one cannot be written.

A full disk costs no training: a snapshot that is due and fails is tried again at the next
interval; the last one waits for room before it gives up. What was on disk stays.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from caffe.engine import log
from caffe.engine.errors import CaffeError
from caffe.engine.formats.atomic_file import write_file
from caffe.engine.formats.weights import first_not_finite
from caffe.engine.parallel.faults import Lost
from caffe.engine.solving import finite, pairs

if TYPE_CHECKING:
    from caffe.engine.solving.solver import Solver

WAITS = (5.0, 20.0, 60.0)       # seconds before each further try of the last snapshot


def check_place(prefix: str) -> None:
    """CaffeError unless a file can be written where snapshots will go; makes the folder."""
    probe = Path(f"{prefix}_iter_")
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        write_file(probe, b"")
        probe.unlink()
    except OSError as error:
        raise CaffeError(f'snapshot_prefix "{prefix}": no snapshot can be written there: '
                         f"{error}") from error


def iteration_of(solver: Solver, weights: str | os.PathLike[str], end: int) -> int | None:
    """The iteration whose snapshot would be written over these weights in training to `end`.

    Snapshots may come at any, where a signal asks for them. None: it would not happen.
    """
    prefix, path = Path(solver.param.snapshot_prefix), Path(weights).resolve()
    ending = r"\.caffemodel\.h5" if solver.param.snapshot_format == solver.param.HDF5 \
        else r"\.caffemodel"
    name = re.fullmatch(rf"{re.escape(prefix.name)}_iter_(\d+){ending}", path.name)
    if path.parent != prefix.parent.resolve() or not name:
        return None
    return int(name[1]) if solver.iter < int(name[1]) <= end else None


def train_to(solver: Solver, end: int) -> None:
    """Train until `iter` is `end` or a stop is asked for: `Solver.step` with snapshots.

    They are taken when due, at the end, and before an error ends it. Raises that error; CaffeError
    before the first iteration if no snapshot can be written.
    """
    start = solver.iter
    if end > start and not solver.workers.rank:
        check_place(solver.param.snapshot_prefix)
    solver.step_to(end)
    if solver.iter > start and solver.workers.any(solver.saved_at != solver.iter):
        at_the_end(solver)


def take(solver: Solver) -> None:
    """Write a snapshot, then remove those beyond `keep`.

    Raises OSError, or NotFinite if the weights are not finite; where `on_nan` is "ignore" they are
    written, and no earlier snapshot goes for them.
    """
    solver.workers.collect()
    _write(solver)


def _write(solver: Solver) -> None:
    """Of workers that train together the first writes."""
    if solver.workers.rank:
        solver.saved_at = solver.iter
        return
    broken = first_not_finite(solver.net)
    if broken and solver.on_nan != "ignore":
        finite.check_weights(solver)
    solver.unsaved = True
    solver.last_snapshot, solver.saved_at = str(solver.take_snapshot()), solver.iter
    solver.unsaved = False
    if broken:
        log.warning("%s: %s is not finite", solver.last_snapshot, broken)
    else:
        pairs.remove_older(solver, solver.keep)


def when_due(solver: Solver) -> None:
    """Take a snapshot in the middle of training, which goes on if that fails."""
    try:
        take(solver)
    except (finite.NotFinite, Lost):
        raise
    except Exception as error:
        log.error("Iteration %d: the snapshot failed, training goes on: %s", solver.iter, error)


def at_the_end(solver: Solver) -> None:
    """Take the last snapshot, with time for somebody to make room; raises as the last try does."""
    solver.workers.collect()
    for wait in WAITS:
        try:
            return _write(solver)
        except OSError as error:
            log.error("The last snapshot failed: %s; trying again in %g s", error, wait)
            time.sleep(wait)
    _write(solver)


def before_an_error(solver: Solver, error: BaseException) -> None:
    """Save what was trained before `error` ends training."""
    if solver.saved_at == solver.iter or isinstance(error, finite.NotFinite):
        return
    if solver.workers.count > 1:            # there is no whole state without the others
        if not solver.workers.rank:
            log.error("An error ends training at iteration %d, without a snapshot of it, which "
                      "would need all workers. %s", solver.iter, finite.last_snapshot(solver))
        return
    log.error("An error ends training at iteration %d, after a snapshot: %s: %s", solver.iter,
              type(error).__name__, error)
    with suppress(finite.NotFinite):        # the first error is the one to be told
        when_due(solver)
