"""Names of classes: those of the data sets, of a file, of a net.

Name 0 is the background's, everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from caffe.extend import parse_json, read_text
from mnc.data.dataset import DataError

BACKGROUND = "__background__"
VOC_CLASSES = (
    BACKGROUND, "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat",
    "chair", "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep",
    "sofa", "train", "tvmonitor")
SCENE_CLASSES = (BACKGROUND, "agate", "beryl", "coral", "garnet", "opal")


def read_classes(path: str | Path) -> tuple[str, ...]:
    """The background and the names in a file, one a line, in any encoding; or COCO's categories.

    Raises DataError if the file is no text or no COCO .json, OSError if it cannot be read.
    """
    if Path(path).suffix.lower() == ".json":
        return (BACKGROUND, *_categories(Path(path)))
    text = read_text(path)
    if "\0" in text:
        raise DataError(f"{path}: a binary file; it should name a class a line")
    return (BACKGROUND, *filter(None, map(str.strip, text.split("\n"))))


def _categories(path: Path) -> list[str]:
    """Names in the order of their ids, as mnc.data.coco has them."""
    try:
        rows = parse_json(path.read_bytes())["categories"]
        return [str(row["name"]) for row in sorted(rows, key=lambda row: int(row["id"]))]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: no COCO file with categories: {error}") from error


def own_classes(folder: Path) -> tuple[str, ...]:
    """Those in FOLDER/classes.txt where that exists, else VOC's twenty."""
    path = folder / "classes.txt"
    return read_classes(path) if path.exists() else VOC_CLASSES


def class_names(number: int, given: str | Path | None = None,
                known: Sequence[str] = ()) -> tuple[str, ...]:
    """Names for a net of so many classes: from a file, else the known ones, if they are as many.

    known: without the background's; of the weights or the settings of the net. Else "class 1" and
    so on. Raises DataError if the file has another number of names.
    """
    if given:
        names = read_classes(given)
        if len(names) != number:
            raise DataError(f"{given}: {len(names) - 1} names, the net has {number - 1} classes "
                            "besides the background")
        return names
    if len(known) == number - 1:
        return (BACKGROUND, *known)
    return (BACKGROUND, *(f"class {k}" for k in range(1, number)))


def line_names(names: Sequence[str]) -> list[str]:
    """The names as they can stand in a list, a line each: blanks and line ends become one blank.

    Raises DataError if two become one.
    """
    lines = [" ".join("".join(c if c.isprintable() else " " for c in name).split()) or "_"
             for name in names]
    for line in lines:
        if lines.count(line) > 1:
            raise DataError(f"two classes would be called {line!r}: names that differ in blanks "
                            "alone cannot be told apart in this format")
    return lines
