"""A data set of large images cut into tiles, to train on what is small in them.

Apart from mnc.commands.data, which names the tiles and writes them: it is arrays and files alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from mnc.data.dataset import Annotation, Dataset, with_progress
from mnc.data.formats.writing import target_files
from mnc.data.labelled import LabelledImage, LabelledImages, Shape

LEAST = 0.25                # share of an instance that a tile must show of it to train on it
Window = Sequence[int]      # x1 y1 x2 y2, the last two not included


def tiled(dataset: Dataset, folder: Path,
          windows: Callable[[tuple[int, int]], Sequence[Window]]) -> LabelledImages:
    """Every image as PNGs in the folder, one for each window of an image of that (height, width).

    Of an instance that is cut, a part of less than LEAST becomes a region that is neither trained
    on nor a mistake to find. Raises DataError for an image that cannot be read.
    """
    found = []
    numbered = list(enumerate(target_files(dataset)))
    for i, name in with_progress(numbered, f"cutting {dataset.name}", True):
        image, annotation = dataset.image(i), dataset.annotation(i)
        for window in windows(image.shape[:2]):
            x1, y1, x2, y2 = window
            path = folder / f"{Path(name).with_suffix('')}_{x1}_{y1}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(cv2.imencode(".png", image[y1:y2, x1:x2])[1].tobytes())
            shapes = list(_shapes(annotation, dataset.classes, window))
            found.append(LabelledImage(path, shapes, (y2 - y1, x2 - x1)))
    return LabelledImages(dataset.name, found, dataset.classes[1:])


def _shapes(found: Annotation, classes: Sequence[str], window: Window) -> Iterator[Shape]:
    """What lies in the window, in its pixels."""
    x1, y1, x2, y2 = window
    for label, mask, box, ignored in zip(found.labels, found.mask_list,
                                         found.boxes.round().astype(int).tolist(), found.ignored):
        left, top, right, bottom = box[0], box[1], box[2] + 1, box[3] + 1
        cut = max(left, x1), max(top, y1), min(right, x2), min(bottom, y2)
        if cut[0] >= cut[2] or cut[1] >= cut[3]:
            continue
        inside = slice(cut[1] - y1, cut[3] - y1), slice(cut[0] - x1, cut[2] - x1)
        if mask is None:
            share = (cut[2] - cut[0]) * (cut[3] - cut[1]) / ((right - left) * (bottom - top))
            drawn = None
        else:
            drawn = np.zeros((y2 - y1, x2 - x1), bool)
            drawn[inside] = mask[cut[1] - top:cut[3] - top, cut[0] - left:cut[2] - left]
            share = drawn.sum() / max(mask.sum(), 1)
        if share:
            rest = cut[0] - x1, cut[1] - y1, cut[2] - cut[0], cut[3] - cut[1]
            yield Shape(classes[label], drawn, rest, crowd=bool(ignored) or share < LEAST)
