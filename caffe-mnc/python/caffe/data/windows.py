"""Windows of images: the list that names them, and how one is cut out with its context."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from caffe.data.lists import FileList


@dataclass(frozen=True)
class Window:
    """A box of an image; corners are pixels that belong to it."""

    image: str
    label: int
    overlap: float
    box: tuple[int, int, int, int]      # x1, y1, x2, y2


@dataclass(frozen=True)
class WindowList:
    """What a window file holds; `channels` are those its last image announces."""

    windows: list[Window]
    channels: int


def read_window_file(path: str, root: str = "") -> WindowList:
    """Parse a window file: for each image

        # index
        path
        channels
        height
        width
        number of windows
        label overlap x1 y1 x2 y2       (a line each)

    Raises ValueError with the place where the file is not so.
    """
    listed = FileList(path, root)
    lines = listed.lines
    windows: list[Window] = []
    channels, at = 0, 0
    while at < len(lines):
        try:
            if not lines[at][1].startswith("#"):
                raise ValueError
            image = lines[at + 1][1].strip()
            channels, _, _, count = (int(lines[at + k][1].split()[0]) for k in range(2, 6))
            at += 6
            found = [_window(image, line.split()) for _, line in lines[at:at + max(count, 0)]]
            if len(found) != count:
                at += len(found)
                raise ValueError
            at += count
        except (ValueError, IndexError):
            where = f"line {lines[at][0]}" if at < len(lines) else "its end"
            raise ValueError(f"{path}: near {where}: expected \"# index\", path, channels, height, "
                             f"width, number of windows, then that many lines of label, overlap, "
                             f"x1, y1, x2, y2") from None
        name = listed.path(image)
        windows += [replace(window, image=name) for window in found]
    return WindowList(windows, channels)


def _window(image: str, fields: list[str]) -> Window:
    x1, y1, x2, y2 = map(int, fields[2:6])
    return Window(image, int(fields[0]), float(np.float32(fields[1])), (x1, y1, x2, y2))


@dataclass(frozen=True)
class Crop:
    """Which pixels of an image go where in a square of `size`."""

    box: tuple[int, int, int, int]      # x1, y1, x2, y2 inside the image
    width: int
    height: int
    left: int                           # columns left free at the left, if not mirrored
    right: int
    top: int


def plain_crop(box: tuple[int, int, int, int], size: int) -> Crop:
    """The box alone, warped to the whole square."""
    return Crop(box, size, size, 0, 0, 0)


def context_crop(box: tuple[int, int, int, int], image: tuple[int, int], size: int, context: int,
                 *, square: bool) -> Crop:
    """The box with so much around it that `context` pixels of the square are context.

    image: (height, width). What would lie outside the image stays free. With `square` the box
    first grows to a square.
    """
    x1, y1, x2, y2 = box
    half = [(x2 - x1 + 1) / 2, (y2 - y1 + 1) / 2]
    centre = [x1 + half[0], y1 + half[1]]
    if square:
        half = [max(half)] * 2
    scale = size / (size - 2 * context)
    axes = [_axis(c, h * scale, n, size) for c, h, n in zip(centre, half, image[::-1])]
    (a1, a2, width, left, right), (b1, b2, height, top, _) = axes
    return Crop((a1, b1, a2, b2), width, height, left, right, top)


def _axis(centre: float, half: float, length: int, size: int) -> tuple[int, int, int, int, int]:
    """(first pixel, last pixel, size after warping, free before, free behind) along one axis"""
    first, last = _round(centre - half), _round(centre + half)
    scale = size / (last - first + 1)
    before, behind = max(0, -first), max(0, last - length + 1)
    first, last = first + before, last - behind
    return first, last, _round((last - first + 1) * scale), _round(before * scale), \
        _round(behind * scale)


def _round(value: float) -> int:
    """Halves away from zero, as C does."""
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def cut(image: np.ndarray, crop: Crop, size: int, *, flip: bool) -> tuple[np.ndarray, Any]:
    """The warped pixels (C, h, w) float32 and where they belong in the square: (:, rows, columns)

    image: (C, H, W) uint8. ValueError if the window lies outside the image.
    """
    import cv2

    x1, y1, x2, y2 = crop.box
    if not (0 <= x1 <= x2 < image.shape[2] and 0 <= y1 <= y2 < image.shape[1]):
        raise ValueError(f"window {crop.box} is not inside the image of {image.shape[1]} x "
                         f"{image.shape[2]}")
    left = crop.right if flip else crop.left
    width, height = min(crop.width, size - left), min(crop.height, size - crop.top)
    if min(width, height) < 1:
        raise ValueError(f"nothing of window {crop.box} is left after warping")
    pixels = image[:, y1:y2 + 1, x1:x2 + 1].transpose(1, 2, 0)
    warped = cv2.resize(np.ascontiguousarray(pixels), (width, height))
    warped = warped.reshape(height, width, -1).transpose(2, 0, 1)
    place = (slice(None), slice(crop.top, crop.top + height), slice(left, left + width))
    return (warped[:, :, ::-1] if flip else warped).astype(np.float32), place
