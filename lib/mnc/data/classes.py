"""Names of classes: those of the data sets, of a file, of a net's number of classes.

Name 0 is the background's, everywhere.
"""

from __future__ import annotations

from pathlib import Path

from caffe.extend import read_text
from mnc.data.dataset import DataError

BACKGROUND = "__background__"
VOC_CLASSES = (
    BACKGROUND, "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat",
    "chair", "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep",
    "sofa", "train", "tvmonitor")
SCENE_CLASSES = (BACKGROUND, "agate", "beryl", "coral", "garnet", "opal")


def read_classes(path: str | Path) -> tuple[str, ...]:
    """The background and the names in a file, one a line, in any encoding.

    Raises DataError if the file is no text, OSError if it cannot be read.
    """
    text = read_text(path)
    if "\0" in text:
        raise DataError(f"{path}: a binary file; it should name a class a line")
    return (BACKGROUND, *filter(None, map(str.strip, text.split("\n"))))


def own_classes(folder: Path) -> tuple[str, ...]:
    """Those in FOLDER/classes.txt where that exists, else VOC's twenty."""
    path = folder / "classes.txt"
    return read_classes(path) if path.exists() else VOC_CLASSES


def class_names(number: int, given: str | Path | None = None) -> tuple[str, ...]:
    """Names for a net of so many classes: from a file, else those of the data set of that size.

    Raises DataError if the file has another number of names.
    """
    if given:
        names = read_classes(given)
        if len(names) != number:
            raise DataError(f"{given}: {len(names) - 1} names, the net has {number - 1} classes "
                            "besides the background")
        return names
    for known in (VOC_CLASSES, SCENE_CLASSES):
        if len(known) == number:
            return known
    return (BACKGROUND, *(f"class {k}" for k in range(1, number)))
