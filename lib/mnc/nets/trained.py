"""The net in the folder that a training wrote: what `--model FOLDER` stands for."""

from __future__ import annotations

import re
from pathlib import Path

from mnc.nets.command import NetError

_SNAPSHOT = re.compile(r"_iter_(\d+)\.caffemodel\.h5$")


def model_in(place: str | Path) -> tuple[str, str]:
    """(test.prototxt, weights) of a folder that `mnc train --out` wrote, or of weights in it.

    The weights are the best of its validations, or those of the last iteration where there was
    none. Raises NetError where one of them is not there.
    """
    place = Path(place)
    prototxt = prototxt_in(place.parent if place.is_file() else place)
    weights = place if place.is_file() else _weights_in(place)
    if weights is None:
        raise NetError(f"{place}: no snapshot NAME_iter_N.caffemodel.h5 in it yet")
    return prototxt, str(weights)


def prototxt_in(folder: Path) -> str:
    """The test.prototxt of a folder that `mnc train --out` wrote; NetError where there is none."""
    for path in (folder / "net/test.prototxt", folder / "test.prototxt"):
        if path.is_file():
            return str(path)
    raise NetError(f"{folder}: no net/test.prototxt in it; name the folder that `mnc train --net … "
                   "--out` wrote, or the net's files themselves (--def and --weights)")


def _weights_in(folder: Path) -> Path | None:
    """The best, else the last."""
    best = sorted(folder.glob("*_best.caffemodel.h5"),
                  key=lambda path: (path.stat().st_mtime_ns, path.name))
    found = {int(match[1]): path for path in folder.glob("*.caffemodel.h5")
             if (match := _SNAPSHOT.search(path.name))}
    return best[-1] if best else found[max(found)] if found else None
