"""Files of labelling tools, a module a format: read as LabelledImages, some also written.

READERS: what makes the data set of a name KIND:FIRST[:SECOND] (mnc.data.imdb.Source). WRITERS:
what writes any data set into a folder.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mnc.data.classes import read_classes
from mnc.data.dataset import Dataset
from mnc.data.formats import coco_file, cvat, labelme, mask_files, via, voc_folder, yolo
from mnc.data.labelled import LabelledImages

if TYPE_CHECKING:
    from mnc.data.imdb import Source

CLASS_FILES = ("classes.txt", "labels.txt")


def _labelme(given: Source) -> LabelledImages:
    """Classes: those given, else those of a list in the folder."""
    listed = next((given.first / each for each in CLASS_FILES if (given.first / each).is_file()),
                  None)
    names = [name for name in read_classes(listed)[1:]
             if name not in labelme.NO_INSTANCE] if listed else None
    return labelme.read(given.first, given.classes or names, cache=given.data_dir / "cache")


READERS: dict[str, Callable[[Source], LabelledImages]] = {
    "labelme": _labelme,
    "via": lambda given: via.read(given.first, given.folder, given.classes),
    "cvat": lambda given: cvat.read(given.first, given.folder, given.classes),
    "yolo": lambda given: yolo.read(given.first, given.classes, split=given.second),
    "masks": lambda given: mask_files.read(given.first, given.classes),
}
WRITERS: dict[str, Callable[[Dataset, Path], None]] = {
    "coco": coco_file.write, "voc": voc_folder.write, "yolo": yolo.write, "labelme": labelme.write,
}

__all__ = ["READERS", "WRITERS"]
