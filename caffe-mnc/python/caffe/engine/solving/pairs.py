"""The snapshots of a training on disk: the newest that is good, those to keep."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from caffe.engine import log
from caffe.engine.errors import WeightsError
from caffe.engine.solving.state import Pair, check

if TYPE_CHECKING:
    from caffe.engine.solving.solver import Solver

AUTO = "auto"
_STATE = re.compile(r"(?P<prefix>.+)_iter_(?P<iter>\d+)\.solverstate(\.h5)?")
_FILE = re.compile(r"(?P<stem>.+_iter_(?P<iter>\d+))\.(caffemodel|solverstate|yml)(\.h5)?")


def find(solver: Solver, where: str | os.PathLike[str]) -> Pair | None:
    """The pair to go on from: of a state file, or the newest good one of a folder or of "auto".

    "auto" is the folder of the solver's snapshots. Of a folder those with the solver's prefix
    count, or all if it has none of them. None: "auto", and nothing there yet. Raises WeightsError
    if a file is no whole pair, or a folder has none.
    """
    prefix = Path(solver.param.snapshot_prefix)
    if str(where) == AUTO:
        return _newest(solver, prefix.parent, prefix.name, may_be_empty=True)
    if os.path.isdir(where):
        return _newest(solver, Path(where), _prefix_in(Path(where), prefix.name))
    try:
        return check(solver, where)
    except WeightsError as error:
        raise WeightsError(f"{error}{_advice(solver, Path(where))}") from error


def _newest(solver: Solver, folder: Path, prefix: str, may_be_empty: bool = False) -> Pair | None:
    reasons = []
    for path in states(folder, prefix):
        try:
            return check(solver, path)
        except (WeightsError, OSError) as error:
            log.warning("Passed over %s", error)
            reasons.append(path)
    if may_be_empty and not reasons:
        return None
    raise WeightsError(f"{folder}: no good snapshot {prefix}_iter_N"
                       + (f"; passed over, for the reasons above: "
                          f"{', '.join(p.name for p in reasons)}" if reasons else ""))


def states(folder: Path, prefix: str) -> Iterator[Path]:
    """The state files of a prefix in a folder, newest iteration first."""
    found = []
    with suppress(FileNotFoundError):
        for path in folder.iterdir():
            parts = _STATE.fullmatch(path.name)
            if parts and parts["prefix"] == prefix:
                found.append((int(parts["iter"]), path))
    return (path for _, path in sorted(found, reverse=True))


def _prefix_in(folder: Path, prefix: str) -> str:
    """`prefix`, or the folder's own if that is another."""
    found = {parts["prefix"] for parts in (_STATE.fullmatch(p.name) for p in folder.iterdir())
             if parts}
    if prefix in found or not found:
        return prefix
    if len(found) > 1:
        raise WeightsError(f"{folder}: holds snapshots of {', '.join(sorted(found))}, none of "
                           f"{prefix}; name the .solverstate to go on from")
    return found.pop()


def _advice(solver: Solver, path: Path) -> str:
    """Which other snapshot would do."""
    parts = _STATE.fullmatch(path.name)
    for other in states(path.parent, parts["prefix"]) if parts else ():
        if other.name != path.name:
            with suppress(WeightsError, OSError):
                return f"; the newest good snapshot here is {check(solver, other).path}"
    return "; there is no other good snapshot beside it" if parts else ""


def remove_older(solver: Solver, keep: int) -> None:
    """Leave the newest `keep` snapshots up to the present iteration; 0 leaves all."""
    prefix = Path(solver.param.snapshot_prefix)
    files: dict[int, list[Path]] = {}
    for path in prefix.parent.iterdir() if keep else ():
        parts = _FILE.fullmatch(path.name)
        if parts and parts["stem"] == f"{prefix.name}_iter_{parts['iter']}" \
                and int(parts["iter"]) <= solver.iter:
            files.setdefault(int(parts["iter"]), []).append(path)
    for iteration in sorted(files, reverse=True)[keep:]:
        for path in sorted(files[iteration], key=lambda p: "solverstate" not in p.name):
            with suppress(FileNotFoundError):
                path.unlink()
