"""Where boxes of a net's input lie in the image it was made of: for files and for evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np

from caffe.engine.formats.text import read_text
from caffe.proto.caffe_pb2 import ResizeParameter


def to_pixels(boxes: np.ndarray, size: tuple[int, int], resize: Any | None) -> np.ndarray:
    """Boxes (K, 4) in shares of the input as pixels of the image, size = (height, width)

    resize: the ResizeParameter that made the input of the image; None for warping. Boxes are cut
    to the image.
    """
    height, width = size
    image = np.array([width, height, width, height], boxes.dtype)
    if resize is None or resize.resize_mode == ResizeParameter.WARP:
        return boxes.clip(0, 1) * image
    if resize.resize_mode == ResizeParameter.FIT_LARGE_SIZE_AND_PAD:
        return _without_padding(boxes, size, resize).clip(0, 1) * image
    if not (resize.height_scale and resize.width_scale):
        return boxes.clip(0, 1) * image
    return (boxes * np.array([resize.width_scale, resize.height_scale] * 2, boxes.dtype)) \
        .clip(0, image)


def _without_padding(boxes: np.ndarray, size: tuple[int, int], resize: Any) -> np.ndarray:
    """Boxes relative to the part of the input that shows the image; one outside of it stays."""
    aspect, wanted = size[1] / size[0], resize.width / resize.height
    low = np.zeros(2, boxes.dtype)
    if aspect > wanted:
        low[1] = (1 - wanted / aspect) / 2
    else:
        low[0] = (1 - aspect / wanted) / 2
    high = 1 - low
    inside: Any = (boxes[:, :2] < high).all(1) & (boxes[:, 2:] > low).all(1)
    moved = (boxes - np.tile(low, 2)) / np.tile(high - low, 2)
    return np.where(inside[:, None], moved, boxes)


def read_name_sizes(path: str) -> list[tuple[str, tuple[int, int]]]:
    """(name, (height, width)) of each line "name height width", the order of the test set."""
    found = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            name, height, width = line.split()
            found.append((name, (int(height), int(width))))
        except ValueError:
            raise ValueError(f'{path}, line {number}: expected "name height width", got '
                             f'"{line}"') from None
    if not found:
        raise ValueError(f"{path}: names no images")
    return found
