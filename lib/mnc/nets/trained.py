"""The net in the folder that a training wrote: what `--model FOLDER` stands for."""

from __future__ import annotations

import re
from pathlib import Path

from mnc.nets.command import NetError

_SNAPSHOT = re.compile(r"_iter_(\d+)\.caffemodel\.h5$")


def model_in(folder: str | Path) -> tuple[str, str]:
    """(test.prototxt, weights of the last iteration) of a folder that `mnc train --out` wrote.

    Raises NetError where one of them is not there.
    """
    folder = Path(folder)
    prototxts = [path for path in (folder / "net/test.prototxt", folder / "test.prototxt")
                 if path.is_file()]
    if not prototxts:
        raise NetError(f"--model {folder}: no net/test.prototxt in it; name the folder that `mnc "
                       "train --net … --out` wrote, or the files, by --def and --net")
    found = {int(match[1]): path for path in folder.glob("*.caffemodel.h5")
             if (match := _SNAPSHOT.search(path.name))}
    if not found:
        raise NetError(f"--model {folder}: no snapshot NAME_iter_N.caffemodel.h5 in it yet")
    return str(prototxts[0]), str(found[max(found)])
