"""Images from files and from records (`Datum`) as arrays (C, H, W), channels in the order BGR."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from caffe.engine.formats import image_file
from caffe.proto import caffe_pb2

MOST_VALUES = 2**31 - 1     # in one array: Caffe's own limit


def read_image(path: str | os.PathLike[str], *, color: bool | None = True,
               size: tuple[int, int] = (0, 0)) -> np.ndarray:
    """The image in a file, (C, H, W) uint8, resized to size = (height, width) if that is not 0.

    color: True for 3 channels, False for 1, None for what the file has.
    """
    return decode_image(image_file.read_file(path), os.fspath(path), color=color, size=size)


def decode_image(content: bytes, label: str, *, color: bool | None = True,
                 size: tuple[int, int] = (0, 0)) -> np.ndarray:
    """The image that an encoded file (PNG, JPEG ...) holds; errors begin with `label`.

    Raises ValueError where it does not decode, or not to 8 bits a channel.
    """
    import cv2

    image = image_file.decode(content, label, color=color)
    if image.dtype != np.uint8:
        raise ValueError(f"{label}: images must have 8 bits a channel, this one is {image.dtype}")
    if any(size) and size != image.shape[:2]:
        image = cv2.resize(image, size[::-1])
    image = image.reshape(*image.shape[:2], -1)
    return np.ascontiguousarray(image.transpose(2, 0, 1))       # (H, W, C) -> (C, H, W)


@dataclass(frozen=True)
class Record:
    """A record of a database: image (C, H, W), uint8 or float32, and its label, or several."""

    image: np.ndarray
    label: int | tuple[int, ...]


def parse_datum(content: bytes, label: str, *, color: bool | None = None) -> Record:
    """The record a serialized Datum holds; `color` as in `read_image`, for encoded images only.

    Raises ValueError where it is none, or damaged.
    """
    try:
        datum = caffe_pb2.Datum.FromString(content)
    except DecodeError as error:
        raise ValueError(f"{label}: not a Datum, or damaged ({len(content)} bytes)") from error
    return record_of(datum, label, color=color)


def record_of(datum: Any, label: str, *, color: bool | None = None) -> Record:
    """The record in a Datum message; ValueError, its text beginning with `label`, if damaged."""
    if datum.encoded:
        return Record(decode_image(datum.data, label, color=color), datum.label)
    shape = (datum.channels, datum.height, datum.width)
    values = np.frombuffer(datum.data, np.uint8) if datum.data \
        else np.array(datum.float_data, np.float32)
    if min(shape) < 1 or len(values) != math.prod(shape):
        raise ValueError(f"{label}: a Datum of {shape[0]} x {shape[1]} x {shape[2]} with "
                         f"{len(values)} values")
    return Record(values.reshape(shape), datum.label)
