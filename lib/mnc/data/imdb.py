"""Data sets by the names that configurations and command lines use."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

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


Names = Sequence[str]
REGISTERED: dict[str, Callable[[], Any]] = {}


def register(name: str, function: Callable[[], Any]) -> None:
    """Make `name` a data set, for --imdb and get_dataset.

    function: without arguments; gives a Dataset, or a list of LabelledImage. A module that
    registers is loaded by `--plugin FILE`. Raises ValueError for a name with ":" or "+", or one
    that is known already.
    """
    if not name or ":" in name or "+" in name or name in DATASETS:
        raise ValueError(f"{name!r} cannot name a data set: names have no ':' and no '+', and "
                         f"{', '.join(list(DATASETS)[:3])}, ... are taken")
    REGISTERED[name] = function


def _registered(name: str) -> Dataset:
    from mnc.data.labelled import LabelledImages

    found = REGISTERED[name]()
    return LabelledImages(name, found) if isinstance(found, (list, tuple)) else found


# --- data of one's own ----------------------------------------------------------------------------

@dataclass(frozen=True)
class Source:
    """What a name of one's own data says: KIND:FIRST[:SECOND]."""

    first: Path
    second: str | None
    data_dir: Path
    classes: Names | None       # where the files themselves have no list of them

    @property
    def folder(self) -> Path | None:
        return None if self.second is None else Path(self.second)


@dataclass(frozen=True)
class Form:
    """A kind of data of one's own: how its name is written, what makes it."""

    form: str
    example: str
    make: Callable[[Source], Dataset]
    parts: Sequence[int] = (2,)         # how many parts may follow the kind


def _of_tool(kind: str) -> Callable[[Source], Dataset]:
    """The reader of files of a labelling tool, imported when it is first asked for."""
    def make(given: Source) -> Dataset:
        from mnc.data.formats import READERS

        return READERS[kind](given)
    return make


OWN: dict[str, Form] = {
    "coco": Form("coco:ANNOTATIONS.json:IMAGE_DIR", "coco:data/mine.json:data/images",
                 lambda given: COCO(given.first, str(given.second),
                                    cache=given.data_dir / "cache")),
    "labelme": Form("labelme:DIR", "labelme:data/mine", _of_tool("labelme"), (1,)),
    "via": Form("via:FILE:IMAGE_DIR", "via:data/via_region_data.json:data/images",
                _of_tool("via"), (1, 2)),
    "cvat": Form("cvat:FILE.xml:IMAGE_DIR", "cvat:data/annotations.xml:data/images",
                 _of_tool("cvat"), (1, 2)),
    "yolo": Form("yolo:DIR[:SPLIT]", "yolo:data/mine:train", _of_tool("yolo"), (1, 2)),
    "masks": Form("masks:DIR", "masks:data/mine", _of_tool("masks"), (1,)),
    "voc": Form("voc:DIR:SPLIT", "voc:data/mine:train",
                lambda given: VOC(given.first, str(given.second), masks=True)),
    "sbd": Form("sbd:DIR:SPLIT", "sbd:data/mine:train",
                lambda given: SBD(given.first, str(given.second))),
}


def get_dataset(imdb_name: str, data_dir: str | os.PathLike | None = None, *,
                skip_bad: bool = False, classes: Names | None = None) -> Dataset:
    """The data set of this name, or several joined by '+' (one in a path is no join).

    Raises DataError for an unknown name and for what cannot be read.

    Names: those of DATASETS (their files lie in data_dir, cfg.DATA_DIR by default; scenes are
    drawn at first use), those registered, and for data of one's own the forms of OWN. classes:
    names without the background's for those whose files have no list of them, by default
    cfg.CLASSES, else the labels that occur. With skip_bad every image and annotation is read once,
    and one warning lists what had to be dropped; otherwise a bad file is an error when it is met.
    """
    folder = Path(cfg.DATA_DIR if data_dir is None else data_dir)
    names = list(classes or cfg.CLASSES) or None
    makers = [_maker(name, names) for name in parts_of(imdb_name)]  # a wrong name is said at once
    parts = [make(folder) for make in makers]
    dataset = parts[0] if len(parts) == 1 else Joined(parts)
    if not len(dataset):
        raise DataError(f'data set "{imdb_name}": the list is empty')
    return without_problems(dataset, progress=True) if skip_bad else dataset


def parts_of(imdb_name: str) -> list[str]:
    """The names that are joined by '+'; a '+' inside a path or a split of one's own stays."""
    parts: list[str] = []
    for piece in imdb_name.split("+"):
        known = _is_own(piece) or piece in DATASETS or piece in REGISTERED
        if parts and _is_own(parts[-1]) and (not known or _goes_on(parts[-1], piece)):
            parts[-1] += f"+{piece}"
        else:
            parts.append(piece)
    return parts


def _goes_on(name: str, piece: str) -> bool:
    """Whether a path at the end of the name goes on in the piece, as photos+masks does."""
    return os.path.exists(f"{name.rpartition(':')[2]}+{piece.partition(':')[0]}")


def is_own(name: str) -> bool:
    """Whether this name of one data set is that of data of one's own, or of a function's."""
    return _is_own(name) or name in REGISTERED


def _is_own(name: str) -> bool:
    return name.partition(":")[0] in OWN and ":" in name


def _maker(name: str, classes: Names | None) -> Callable[[Path], Dataset]:
    """What makes the data set of this name from the folder of data. Raises DataError."""
    if _is_own(name):
        kind, _, rest = name.partition(":")
        first, second = _split(name, rest, OWN[kind])
        return partial(_own, kind, first, second, classes)
    if name in REGISTERED:
        return lambda data_dir: _registered(name)
    if name not in DATASETS:
        raise DataError(_unknown(name))
    return DATASETS[name]


def _own(kind: str, first: str, second: str | None, classes: Names | None,
         data_dir: Path) -> Dataset:
    try:
        return OWN[kind].make(Source(Path(first), second, data_dir, classes))
    except DataError as error:
        from mnc.data.formats.guessing import likely_name

        likely = likely_name(first)
        if likely is None or likely.startswith(f"{kind}:"):
            raise
        raise DataError(f"{error}; it seems to be {likely}") from error


def _split(name: str, rest: str, form: Form) -> tuple[str, str | None]:
    """The parts of a name after its kind: at the colon with paths on both sides, else the last."""
    if rest and 1 in form.parts and (2 not in form.parts or os.path.exists(rest)):
        return rest, None
    places = [k for k, letter in enumerate(rest) if letter == ":"]
    both = [k for k in places if os.path.exists(rest[:k]) and os.path.exists(rest[k + 1:])]
    for k in [*both, *places[::-1]]:
        if rest[:k] and rest[k + 1:]:
            return rest[:k], rest[k + 1:]
    if rest and 1 in form.parts:
        return rest, None
    raise DataError(f'data set "{name}": write it as {form.form}, for example {form.example}')


def _unknown(name: str) -> str:
    from mnc.data.formats.guessing import likely_name

    likely = likely_name(name)
    if likely:
        return f'data set "{name}": for what lies there, write {likely}'
    forms = ", ".join(form.form for form in OWN.values())
    if os.path.exists(name):
        return (f'data set "{name}": no annotations are found there, of none of the forms {forms}; '
                "docs/own_data.md says what each of them is")
    known = [*DATASETS, *REGISTERED]
    near = difflib.get_close_matches(name, known, 1)
    hint = f'; did you mean "{near[0]}"? Known' if near else "; known"
    return f'unknown data set "{name}"{hint}: {", ".join(known)}, {forms}, and several joined by +'
