"""Text beside boxes: in any language, of a size to read, none over another."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Box = tuple[int, int, int, int]         # x1, y1, x2, y2 in pixels, x2 and y2 not inside

SMALLEST = 11                           # pixels of a font that can be read
OF_SHORT_SIDE = 32                      # a picture's short side has so many font sizes
DARK = 140                              # luma below which a colour takes white text


@cache
def font_of(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib, or the file $MNC_FONT, of this many pixels.

    DejaVu has no Chinese, Japanese or Korean letters. Raises OSError where the file is no font.
    """
    import matplotlib  # it takes a while

    own = os.environ.get("MNC_FONT")
    return ImageFont.truetype(
        own or Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)


def font_size(height: int, width: int) -> int:
    """Pixels of the font for a picture of this size."""
    return max(SMALLEST, round(min(height, width) / OF_SHORT_SIDE))


def text_color(color: Sequence[int]) -> tuple[int, int, int]:
    """Black or white, whichever is read better on this (B, G, R)."""
    blue, green, red = color
    luma = 0.114 * blue + 0.587 * green + 0.299 * red
    return (255, 255, 255) if luma < DARK else (0, 0, 0)


def draw_labels(picture: np.ndarray, boxes: np.ndarray, texts: Sequence[str],
                colors: Sequence[Sequence[int]]) -> None:
    """Write a label beside each box into the picture (H, W, 3) BGR, in place.

    boxes (N, 4): x1, y1, x2, y2. The first label takes its place first, above its box; a later one
    goes to another side of its box where that place is taken, and is left out where all are.
    """
    height, width = picture.shape[:2]
    font = font_of(font_size(height, width))
    margin = max(1, round(font.size / 6))
    taken: list[Box] = []
    for box, text, color in zip(boxes, texts, colors, strict=True):
        left, top, right, bottom = font.getbbox(text)
        size = round(right - left + 2 * margin), round(bottom - top + 2 * margin)
        place = _free_place(box, size, (width, height), taken)
        if place is not None:
            taken.append(place)
            _write(picture[place[1]:place[3], place[0]:place[2]], text, font,
                   (margin - left, margin - top), color)


def _write(window: np.ndarray, text: str, font: ImageFont.FreeTypeFont,
           start: tuple[float, float], color: Sequence[int]) -> None:
    """Fill this part of the picture with the colour, and write on it."""
    page = Image.new("RGB", window.shape[1::-1], tuple(color))      # in the picture's order, BGR
    ImageDraw.Draw(page).text(start, text, font=font, fill=text_color(color))
    window[...] = np.asarray(page)


def _free_place(box: np.ndarray, size: tuple[int, int], picture: tuple[int, int],
                taken: Sequence[Box]) -> Box | None:
    """The first place at this box where a label of this (width, height) meets no other one."""
    for x, y in _places(box, size):
        x = max(0, min(x, picture[0] - size[0]))
        y = max(0, min(y, picture[1] - size[1]))
        place = (x, y, min(x + size[0], picture[0]), min(y + size[1], picture[1]))
        if not any(_meet(place, other) for other in taken):
            return place
    return None


def _places(box: np.ndarray, size: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Upper left corners, the best first: above, inside, below; right of the box, left of it."""
    x1, y1, x2, y2 = (round(float(value)) for value in box[:4])
    width, height = size
    for y in (y1 - height, y1, y2 + 1, y2 - height):
        yield x1, y
        yield x2 - width, y
    for y in (y1, y2 - height):
        yield x2 + 1, y
        yield x1 - width, y


def _meet(one: Box, other: Box) -> bool:
    return (one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3])
