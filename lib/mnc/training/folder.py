"""The folder of a training: it holds one training, never pieces of two.

What mnc.commands.train does before it trains; here, because the files are those that training
writes.
"""

from __future__ import annotations

import re
import shutil
from itertools import count
from pathlib import Path

from mnc.nets.fit import TrainingError

AUTO = "auto"               # --resume: the newest snapshot of the output folder
_SNAPSHOT = re.compile(r".+_(iter_\d+|best)\.(caffemodel|solverstate)(\.h5)?")
_WRITTEN = re.compile(r".+_(iter_\d+|best)\.((caffemodel|solverstate)(\.h5)?|yml)|train\.log|"
                      r"metrics\.(jsonl|csv)|losses\.png|arguments\.json")
_FOLDERS = ("validation", "tensorboard")


def output_folder(wanted: str | None, default: str, resume: str | None, *,
                  overwrite: bool = False) -> Path:
    """Where a training writes: --out, the folder of what it goes on from, or the default.

    The default gets a number behind it where another training is there; --out with one is refused,
    unless it is gone on with or to be written over. Raises TrainingError.
    """
    source = None if resume in (None, AUTO) else Path(resume or "")
    if source is not None and not source.is_dir():
        source = source.parent
    if wanted is None and source is None:
        return _newest(default) if resume else default_folder(default, overwrite)
    folder = Path(wanted) if wanted is not None else source or Path()
    for path in (folder, *folder.parents):
        if path.exists() and not path.is_dir():
            raise TrainingError(f"--out {folder}: {path} is a file; name a folder")
    goes_on = resume == AUTO or (source is not None and source.resolve() == folder.resolve())
    if not goes_on and not overwrite and snapshots(folder):
        raise TrainingError(
            f"--out {folder}: another training is there ({snapshots(folder)[-1].name}); go on with "
            "it by --resume, write over it by --overwrite, or name another folder")
    return folder


def default_folder(default: str, overwrite: bool = False) -> Path:
    """The default, or the first of DEFAULT_2, DEFAULT_3 … that holds no training."""
    names = (Path(default if n == 1 else f"{default}_{n}") for n in count(1))
    return next(folder for folder in names if overwrite or not snapshots(folder))


def _newest(default: str) -> Path:
    """The last of DEFAULT, DEFAULT_2 … that holds a training; DEFAULT where none does."""
    last = Path(default)
    for n in count(2):
        folder = Path(f"{default}_{n}")
        if not snapshots(folder):
            return last
        last = folder
    raise AssertionError("count ends")


def snapshots(folder: Path) -> list[Path]:
    """The snapshots in a folder, oldest iteration first."""
    found = [path for path in folder.iterdir() if _SNAPSHOT.fullmatch(path.name)] \
        if folder.is_dir() else []
    return sorted(found, key=lambda path: (
        [int(n) for n in re.findall(r"_iter_(\d+)", path.name)], path.name))


def clear(folder: Path, needed: str | Path | None = None) -> None:
    """Remove what an earlier training wrote. Raises TrainingError if `needed` is of that."""
    written = [path for path in folder.iterdir() if _WRITTEN.fullmatch(path.name)]
    if needed is not None and Path(needed).resolve() in [path.resolve() for path in written]:
        raise TrainingError(f"--overwrite would remove {needed}, which this training begins with; "
                            "name another --out")
    for path in written:
        path.unlink()
    for name in _FOLDERS:
        shutil.rmtree(folder / name, ignore_errors=True)
