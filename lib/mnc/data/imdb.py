"""Data sets by the names that configurations and command lines use."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mnc.config import cfg
from mnc.data.coco import COCO
from mnc.data.dataset import DataError, Dataset, Joined, without_problems
from mnc.data.sbd import SBD
from mnc.data.voc import VOC


def _voc_2012_seg(split: str, data_dir: Path) -> Dataset:
    folder = data_dir / "VOCdevkitSDS"
    _needed(folder, "fetch_sbd_data.sh")
    return SBD(folder, split, f"voc_2012_seg_{split}")


def _voc(year: str, split: str, data_dir: Path, *, masks: bool = False) -> Dataset:
    folder = data_dir / f"VOCdevkit{year}" / f"VOC{year}"
    _needed(folder, f"fetch_voc.sh {year}")
    kind = "_segobj" if masks else ""
    return VOC(folder, split, f"voc_{year}{kind}_{split}", masks=masks)


def _coco(year: str, split: str, data_dir: Path) -> Dataset:
    folder = data_dir / "coco"
    kind = "image_info" if split.startswith("test") else "instances"
    file = folder / "annotations" / f"{kind}_{split}{year}.json"
    images = folder / f"{split.removesuffix('-dev')}{year}"
    _needed(file, f"fetch_coco.sh {year}")
    return COCO(file, images, f"coco_{year}_{split}", cache=data_dir / "cache")


def _scenes(split: str, data_dir: Path) -> Dataset:
    # Not at the top, so that `python -m mnc.data.scenes` does not find itself imported.
    from mnc.data import scenes

    return SBD(scenes.draw(data_dir / "scenes"), split, f"scenes_{split}")


def _needed(place: Path, script: str) -> None:
    if not place.exists():
        raise DataError(f"{place}: no such file or folder; data/scripts/{script} fetches it")


DATASETS: dict[str, Callable[[Path], Dataset]] = {
    **{f"voc_2012_seg_{split}": partial(_voc_2012_seg, split) for split in ("train", "val")},
    **{f"scenes_{split}": partial(_scenes, split) for split in ("train", "val")},
    **{f"voc_{year}_{split}": partial(_voc, year, split)
       for year in ("2007", "2012") for split in ("train", "val", "trainval", "test")},
    **{f"voc_{year}_segobj_{split}": partial(_voc, year, split, masks=True)
       for year in ("2007", "2012") for split in ("train", "val", "trainval")},
    **{f"coco_{year}_{split}": partial(_coco, year, split)
       for year, split in (("2014", "train"), ("2014", "val"), ("2015", "test"),
                           ("2015", "test-dev"), ("2017", "train"), ("2017", "val"),
                           ("2017", "test-dev"))}}


def _own_sbd(folder: str, split: str, data_dir: Path) -> Dataset:
    return SBD(folder, split)


def _own_voc(folder: str, split: str, data_dir: Path) -> Dataset:
    return VOC(folder, split, masks=True)


def _own_coco(file: str, images: str, data_dir: Path) -> Dataset:
    return COCO(file, images, cache=data_dir / "cache")


# KIND:FIRST:SECOND for data of one's own: how it is written, what makes it, an example
OWN: dict[str, tuple[str, Callable[[str, str, Path], Dataset], str]] = {
    "sbd": ("sbd:DIR:SPLIT", _own_sbd, "sbd:data/mine:train"),
    "voc": ("voc:DIR:SPLIT", _own_voc, "voc:data/mine:train"),
    "coco": ("coco:ANNOTATIONS.json:IMAGE_DIR", _own_coco, "coco:data/mine.json:data/images"),
}


def get_dataset(imdb_name: str, data_dir: str | os.PathLike | None = None, *,
                skip_bad: bool = False) -> Dataset:
    """The data set of this name, or several joined by '+' (one in a path is no join).

    Raises DataError for an unknown name and for what cannot be read.

    Names: those of DATASETS (their files lie in data_dir, cfg.DATA_DIR by default; scenes are
    drawn at first use), and for data of one's own sbd:DIR:SPLIT, voc:DIR:SPLIT and
    coco:ANNOTATIONS.json:IMAGE_DIR. With skip_bad every image and annotation is read once, and one
    warning lists what had to be dropped; otherwise a bad file is an error when it is met.
    """
    folder = Path(cfg.DATA_DIR if data_dir is None else data_dir)
    makers = [_maker(name) for name in parts_of(imdb_name)]     # a wrong name is said at once
    parts = [make(folder) for make in makers]
    dataset = parts[0] if len(parts) == 1 else Joined(parts)
    if not len(dataset):
        raise DataError(f'data set "{imdb_name}": the list is empty')
    return without_problems(dataset, progress=True) if skip_bad else dataset


def parts_of(imdb_name: str) -> list[str]:
    """The names that are joined by '+'; a '+' inside a path or a split of one's own stays."""
    parts: list[str] = []
    for piece in imdb_name.split("+"):
        if parts and _is_own(parts[-1]) and not (_is_own(piece) or piece in DATASETS):
            parts[-1] += f"+{piece}"
        else:
            parts.append(piece)
    return parts


def _is_own(name: str) -> bool:
    return name.partition(":")[0] in OWN and ":" in name


def _maker(name: str) -> Callable[[Path], Dataset]:
    """What makes the data set of this name from the folder of data. Raises DataError."""
    kind, _, rest = name.partition(":")
    if _is_own(name):
        form, make, example = OWN[kind]
        first, _, second = rest.rpartition(":")
        if not first or not second:
            raise DataError(f'data set "{name}": write it as {form}, for example {example}')
        return partial(make, first, second)
    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS, 1)
        hint = f'; did you mean "{near[0]}"? Known' if near else "; known"
        forms = ", ".join(form for form, _, _ in OWN.values())
        raise DataError(f'unknown data set "{name}"{hint}: {", ".join(DATASETS)}, {forms}, '
                        "and several joined by +")
    return DATASETS[name]
