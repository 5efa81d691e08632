"""Losses and weights that are no finite numbers: found, named, and kept out of snapshots."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from caffe.engine import log
from caffe.engine.errors import CaffeError
from caffe.engine.formats.weights import first_not_finite, is_finite

if TYPE_CHECKING:
    from caffe.engine.net.net import Net
    from caffe.engine.solving.solver import Solver

CHOICES = ("stop", "skip", "ignore")


class NotFinite(CaffeError):
    """The loss or the weights of a net in training became NaN or infinite."""


def to_be_skipped(solver: Solver, loss: float) -> bool:
    """Whether this iteration is to make no update, as `on_nan` of the solver says.

    Raises NotFinite, naming where it began, if the loss is not finite and training is to stop.
    """
    if math.isfinite(loss) or solver.on_nan == "ignore":
        return False
    text = (f"Iteration {solver.iter}, lr = {solver.lr:g}: the loss is {loss:g}; "
            f"{_cause(solver.net)}")
    if solver.on_nan == "stop":
        raise NotFinite(f"{text}. {last_snapshot(solver)}. A lower base_lr or clip_gradients may "
                        f"help; --on-nan skip leaves such iterations out")
    solver.skipped += 1
    log.warning("%s: no update (%d skipped so far)", text, solver.skipped)
    check_weights(solver)
    return True


def check_weights(solver: Solver) -> None:
    """NotFinite if a parameter, statistics of BatchNorm among them, is not finite."""
    name = first_not_finite(solver.net)
    if name:
        raise NotFinite(f"Iteration {solver.iter}: {name} is not finite. {last_snapshot(solver)}")


def _cause(net: Net) -> str:
    found = first_not_finite(net) or _first_blob(net)
    items = ", ".join(_items(net))
    return (f"the first that is not finite is {found}" if found else
            "every blob is finite") + (f"; the batch: {items}" if items else "")


def _first_blob(net: Net) -> str | None:
    for layer in net.layers:
        for name in net.top_names.get(layer.name, ()):
            if name in net.blobs and not is_finite(net.blobs[name].tensor.float()):
                return f'blob "{name}" of {layer.title}'
    return None


def _items(net: Net, most: int = 16) -> Iterator[str]:
    """What the data layers say they read last."""
    for layer in net.layers:
        items: Any = getattr(layer, "batch_items", None)
        names = list(items()) if callable(items) else []
        yield from names[:most]
        if len(names) > most:
            yield f"and {len(names) - most} more"


def last_snapshot(solver: Solver) -> str:
    """Where training may go on from, in words."""
    last = solver.last_snapshot or solver.resumed_from
    return f"The last snapshot, finite, is {last}" if last else "There is no snapshot"
