"""Image files: the one place where their bytes become pixels.

The size in the header is bounded before anything is decoded; files are opened here and not by
OpenCV, which a name that is not UTF-8 kills. Of animations and files of several pages the first
image counts. Photographs taken sideways are turned upright as their Exif data says, but where the
file is read as it is (`color=None`).
"""

from __future__ import annotations

import io
import math
import os
import struct
from typing import Any

import numpy as np

MOST_PIXELS = 2**28             # 16384 x 16384


def read_file(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a file; OSError if it cannot be read."""
    with open(path, "rb") as file:
        return file.read()


def decode(content: bytes, label: str, *, color: bool | None = True, upright: bool = True,
           most: float = MOST_PIXELS) -> np.ndarray:
    """(H, W, 3) BGR, or (H, W) grey if not `color`; None: as it is in the file, channels and depth.

    uint8, but for None. most: pixels that it may have. ValueError beginning with `label` if it is
    no image, damaged or too large.
    """
    import cv2

    check_size(content, label, most)
    flag = {True: cv2.IMREAD_COLOR, False: cv2.IMREAD_GRAYSCALE, None: cv2.IMREAD_UNCHANGED}[color]
    if not upright and color is not None:
        flag |= cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flag) if content else None
    except cv2.error as error:
        raise ValueError(f"{_damaged(content, label)}: {error.err}") from error
    if image is None:
        raise ValueError(_damaged(content, label))
    return image


def decode_exactly(content: bytes, label: str) -> np.ndarray:
    """(H, W), (H, W, 3) RGB or (H, W, 4) RGB and alpha, in the depth of the file.

    Palettes, CMYK and YCbCr become RGB; the alpha of grey images is left out. ValueError as in
    `decode`.
    """
    check_size(content, label)
    try:
        if content[:4] in _TIFF and (found := _tiff(content)) is not None:
            return found
        return _pillow(content)
    except Exception as error:          # Pillow and tifffile raise what the bytes lead them to
        raise ValueError(f"{_damaged(content, label)}: {error}") from error


def decode_map(content: bytes, label: str) -> np.ndarray | None:
    """(H, W) grey values, or indices into the palette of the file; None if it has colours.

    Raises ValueError where it does not decode.
    """
    from PIL import Image

    check_size(content, label)
    try:
        with Image.open(io.BytesIO(content)) as image:
            return np.array(image) if image.mode in ("1", "L", "P", "I", "I;16", "I;16B") else None
    except Exception as error:          # Pillow raises what the bytes lead it to
        raise ValueError(f"{_damaged(content, label)}: {error}") from error


def _damaged(content: bytes, label: str) -> str:
    return f"{label}: not a decodable image, or damaged ({len(content)} bytes)"


# --- sizes ---------------------------------------------------------------------------------------

def check_size(content: bytes, label: str, most: float = MOST_PIXELS) -> None:
    """ValueError if these bytes are no image, or one of more pixels than `most`, by its header."""
    try:
        width, height = map(int, _size(content))
    except (struct.error, IndexError, ValueError, TypeError, OverflowError, OSError):
        raise ValueError(_damaged(content, label)) from None
    if width * height > most:
        raise ValueError(f"{label}: an image of {width} x {height} pixels; up to {most:.0f} are "
                         "read")
    if width * height > most_pixels_in(content):
        raise ValueError(f"{_damaged(content, label)}: its header promises {width} x {height} "
                         "pixels, more than so many bytes can hold")


_PNG = b"\x89PNG\r\n\x1a\n"


def _check_png_chunks(content: bytes) -> None:
    """ValueError if the header is cut, or a chunk is longer than what is left; OpenCV takes memory
    for its length.
    """
    if len(content) < len(_PNG) + 25:
        raise ValueError("the header is cut")
    place = len(_PNG)
    while place + 8 <= len(content):
        place += 12 + struct.unpack(">I", content[place:place + 4])[0]
        if place > len(content):
            raise ValueError("a chunk is cut")


def _size(content: bytes) -> tuple[int, int]:
    """(width, height) as the header has them"""
    if content.startswith(_PNG):
        _check_png_chunks(content)
        return struct.unpack(">II", content[16:24])
    if content.startswith(b"\xff\xd8"):
        return _jpeg_size(content)
    if content[:6] in (b"GIF87a", b"GIF89a"):
        return struct.unpack("<HH", content[6:10])
    if content.startswith(b"BM"):
        if struct.unpack("<I", content[14:18])[0] == 12:
            return struct.unpack("<HH", content[18:22])
        width, height = struct.unpack("<ii", content[18:26])
        return abs(width), abs(height)
    return _other_size(content)


def most_pixels_in(content: bytes) -> float:
    """How many pixels these bytes may hold: deflate makes 1032 bytes of one, JPEG has a bit and
    more for 64 pixels, GIF's codes of 12 bits stand for up to 4096."""
    if content.startswith(_PNG):
        channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(content[25], 1)
        return len(content) * 1032 * 8 / (max(1, content[24]) * channels)
    if content.startswith((b"\xff\xd8", b"GIF8")):
        return len(content) * 4096
    return math.inf


def _jpeg_size(content: bytes) -> tuple[int, int]:
    place = 2
    while True:
        place = content.index(b"\xff", place)
        while content[place] == 0xff:
            place += 1
        marker = content[place]
        if 0xc0 <= marker <= 0xcf and marker not in (0xc4, 0xc8, 0xcc):
            height, width = struct.unpack(">HH", content[place + 4:place + 8])
            return width, height
        alone = marker in (0, 1) or 0xd0 <= marker <= 0xd8
        place += 1 if alone else 1 + struct.unpack(">H", content[place + 1:place + 3])[0]


def _other_size(content: bytes) -> tuple[int, int]:
    """Of formats whose header Pillow reads; OSError where it knows none."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as image:
            return image.size
    except Image.DecompressionBombError:
        return MOST_PIXELS, MOST_PIXELS
    except OSError:
        if content[:4] in _TIFF:                # of a depth that Pillow does not have
            return _tiff_size(content)
        raise
    except Exception as error:                  # whatever the bytes lead it to
        raise ValueError(str(error)) from error


# --- pixels in full depth ------------------------------------------------------------------------

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PALETTE, _CMYK, _YCBCR = 3, 5, 6       # PhotometricInterpretation


def _tiff_size(content: bytes) -> tuple[int, int]:
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            page = file.pages.first
            return page.imagewidth, page.imagelength * max(1, page.samplesperpixel // 4)
    except Exception as error:                  # whatever the bytes lead it to
        raise ValueError(str(error)) from error


def _tiff(content: bytes) -> np.ndarray | None:
    """The first page in its depth; None where Pillow knows better."""
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            page = file.pages.first
            if page.photometric in (_PALETTE, _CMYK, _YCBCR):
                return None
            if math.prod(page.shape) > 4 * MOST_PIXELS:
                raise ValueError(f"a page of the shape {page.shape}")
            found = page.asarray()
    except Exception:                           # compressed in a way it lacks the code for
        return None
    if found.ndim == 3 and found.shape[-1] not in (3, 4) and found.shape[0] in (3, 4):
        found = np.moveaxis(found, 0, -1)       # planes one after the other
    return found if found.ndim == 2 or (found.ndim == 3 and found.shape[2] in (3, 4)) else None


def _pillow(content: bytes) -> np.ndarray:
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(content)) as image:
        kind, depth = image.format, image.mode
        shown: Any = ImageOps.exif_transpose(image)
        if depth in ("LA", "La"):
            shown = shown.convert("L")
        elif depth not in ("1", "L", "RGB", "RGBA", "F", "I") and not depth.startswith("I;16"):
            shown = shown.convert("RGB")
        found = np.array(shown)
    if depth.startswith("I;16") or (depth == "I" and kind == "PNG"):     # Pillow's older name
        found = found.astype(np.uint16)
    return found
