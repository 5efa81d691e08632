"""Data sets by the names that configurations and command lines use."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mnc.config import cfg
from mnc.data.dataset import DataError, Dataset, Joined, without_problems
from mnc.data.sbd import SBD


def _voc_2012_seg(split: str, data_dir: Path) -> Dataset:
    folder = data_dir / "VOCdevkitSDS"
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; data/scripts/fetch_sbd_data.sh fetches the SBD "
                        "there")
    return SBD(folder, split, f"voc_2012_seg_{split}")


def _scenes(split: str, data_dir: Path) -> Dataset:
    # Not at the top, so that `python -m mnc.data.scenes` does not find itself imported.
    from mnc.data import scenes

    return SBD(scenes.draw(data_dir / "scenes"), split, f"scenes_{split}")


DATASETS: dict[str, Callable[[Path], Dataset]] = {
    f"{name}_{split}": partial(maker, split)
    for name, maker in (("voc_2012_seg", _voc_2012_seg), ("scenes", _scenes))
    for split in ("train", "val")}


def get_dataset(imdb_name: str, data_dir: str | os.PathLike | None = None, *,
                skip_bad: bool = False) -> Dataset:
    """The data set of this name, or several joined by '+'.

    Names: those of DATASETS (their files lie in data_dir, cfg.DATA_DIR by default; scenes are
    drawn at first use) and sbd:DIR:SPLIT for any folder in the SBD layout. With skip_bad every
    image and annotation is read once, and one warning lists what had to be dropped; otherwise a
    bad file is an error when it is met.
    """
    folder = Path(cfg.DATA_DIR if data_dir is None else data_dir)
    parts = [_one(name, folder) for name in imdb_name.split("+")]
    dataset = parts[0] if len(parts) == 1 else Joined(parts)
    if not len(dataset):
        raise DataError(f'data set "{imdb_name}": the list is empty')
    return without_problems(dataset, progress=True) if skip_bad else dataset


def _one(name: str, data_dir: Path) -> Dataset:
    if name.startswith("sbd:"):
        folder, _, split = name[len("sbd:"):].rpartition(":")
        if not folder or not split:
            raise DataError(f'data set "{name}": write it as sbd:DIR:SPLIT, for example '
                            "sbd:data/mine:train")
        return SBD(folder, split, name)
    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS, 1)
        hint = f'did you mean "{near[0]}"? ' if near else ""
        raise DataError(f'unknown data set "{name}"; {hint}Known: {", ".join(DATASETS)}, '
                        "sbd:DIR:SPLIT, and several joined by +")
    return DATASETS[name](data_dir)
