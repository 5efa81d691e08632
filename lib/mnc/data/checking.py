"""Every image of a training set decoded before training, so that faults are found at once."""

from __future__ import annotations

import io
import logging
import os
import sys
from concurrent.futures import ThreadPoolExecutor

from mnc.data.dataset import DataError, listed, with_progress
from mnc.data.depth import warn_of_depth
from mnc.data.images import read_image
from mnc.data.roidb import Entry, MaskDB

log = logging.getLogger("mnc")

BY_DEFAULT = 3000       # images that are checked unless asked not to: some seconds
MOST_BAD = 0.01         # share of the images that may be left out


def readable(roidb: list[Entry], maskdb: MaskDB, *, skip: bool = False,
             progress: bool | None = None) -> tuple[list[Entry], MaskDB]:
    """The entries whose image decodes, whole and in the size of its annotation.

    Raises DataError with all that is wrong; with `skip` only above 1 % of the images, else those
    are left out with a warning; another tells of images too dark. progress None: a bar on a
    terminal.
    """
    progress = sys.stderr.isatty() if progress is None else progress
    images = {entry["image"]: entry for entry in roidb if not entry["flipped"]}
    wrong: dict[str, str] = {}
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        faults = threads.map(fault_of, images.values())
        for image in with_progress(list(images), "checking images", progress):
            fault = next(faults)
            if fault:
                wrong[image] = fault
    warn_of_depth([image for image in images if image not in wrong])
    if not wrong:
        return roidb, maskdb
    text = f"{len(wrong)} of {len(images)} images cannot be used"
    if not skip or len(wrong) > most_bad(len(images)):
        hint = "" if skip else "; --bad-data skip leaves them out"
        raise DataError(f"{text}{hint}:\n{listed(list(wrong.values()))}")
    log.warning("%s and are left out:\n%s", text, listed(list(wrong.values())))
    rows = [i for i, entry in enumerate(roidb) if entry["image"] not in wrong]
    return [roidb[i] for i in rows], maskdb.rows(rows)


def most_bad(count: int) -> int:
    """How many of so many images may be left out: one always may."""
    return max(1, int(MOST_BAD * count))


def fault_of(entry: Entry) -> str | None:
    """What is wrong with the image of an entry of the roidb, in words."""
    size = entry["height"], entry["width"]
    try:
        image = read_image(entry["image"], size)
    except DataError as error:
        return str(error)
    if image.shape[:2] != size:
        return (f"{entry['image']}: the image has {image.shape[1]} x {image.shape[0]} pixels, its "
                f"annotation is for {entry['width']} x {entry['height']}")
    return _cut(entry["image"])


def _cut(path: str) -> str | None:
    """OpenCV fills the missing part of a JPEG with grey; Pillow tells."""
    from PIL import Image

    with open(path, "rb") as file:
        content = file.read()
    if not content.startswith(b"\xff\xd8"):
        return None
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
    except (OSError, ValueError, SyntaxError) as error:
        return f"{path}: the JPEG is damaged or cut: {error}"
    return None
