"""Grey images of 16 bits, of which reading keeps the upper eight: is anything left in these?

Microscopes and X-ray machines write 12 or 14 bits into 16: the pixels are then 0 to 15, or to 63.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

import numpy as np

from mnc.data.dataset import DataError
from mnc.data.images import read_image

log = logging.getLogger("mnc")

LOOKED_AT = 40              # images, evenly over the set
DIM = 64                    # nearly all pixels below this: two bits of eight say nothing
NEARLY_ALL = 0.999          # some pixels of a camera may be hot


def warn_of_depth(paths: Sequence[str | os.PathLike[str]]) -> None:
    """A warning where the images of more than 8 bits that are looked at are nearly black."""
    chosen = np.unique(np.linspace(0, len(paths) - 1, LOOKED_AT).astype(int)) if paths else ()
    deep = [paths[i] for i in chosen if _is_deep(paths[i])]
    brightest = [value for path in deep if (value := _brightest(path)) is not None]
    if brightest and np.median(brightest) < DIM:
        log.warning(
            "%s and others are nearly black: their pixels are 0 to %d of 255, because of files of "
            "16 bits the upper eight are taken. Stretch their values to the whole range first, "
            'and those of the images to come likewise (docs/own_data.md, "Dark images")',
            deep[0], round(float(np.median(brightest))))


def _is_deep(path: str | os.PathLike[str]) -> bool:
    """By the head of the file alone."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.mode.startswith("I")
    except Exception:       # Pillow raises what the bytes lead it to; who reads the image says so
        return False


def _brightest(path: str | os.PathLike[str]) -> float | None:
    try:
        return float(np.quantile(read_image(path), NEARLY_ALL))
    except DataError:
        return None
