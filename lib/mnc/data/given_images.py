"""What people hold an image in, as pixels: for mnc.segmenter.

    numpy       (H, W, 3) B, G, R as OpenCV has it, (H, W, 4) with alpha, (H, W) or (H, W, 1) grey;
                uint8
    PIL         any mode but F; turned upright as its Exif data says
    torch       R, G, B as torchvision has it: (3, H, W), (1, H, W), (4, H, W), (H, W); channels may
                be the last axis, where the first can be none; uint8, or float from 0 to 1
    bytes       an encoded image file;   str, path: the name of one

Alpha is left out, as of files. Nothing else is guessed at.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch

from caffe.extend import decode_image
from mnc.data.dataset import DataError
from mnc.data.images import read_image

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

Image = Any                     # of the kinds above
CHANNELS = (1, 3, 4)
SLACK = 1e-3                    # of floats beyond 0 and 1, as resizing makes them


def as_bgr(image: Image) -> np.ndarray:
    """(H, W, 3) uint8 BGR of an image of any of the kinds above.

    Raises TypeError for another kind, ValueError for an array or tensor of another shape or type,
    DataError for a file or an encoded image that cannot be read.
    """
    if isinstance(image, np.ndarray):
        return _of_array(image)
    if isinstance(image, torch.Tensor):
        return _of_tensor(image)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return _decoded(bytes(image))
    if isinstance(image, (str, os.PathLike)):
        if str(image).startswith(("http://", "https://")):
            raise DataError(f"{image}: an address; fetch it, and give the bytes")
        return read_image(image)
    if type(image).__module__.partition(".")[0] == "PIL" or hasattr(image, "getexif"):
        return _of_pil(image)
    raise TypeError("an image is a path, the bytes of a file, a numpy array (BGR), a PIL image or "
                    f"a torch tensor (RGB); got {type(image).__name__}")


def _decoded(content: bytes) -> np.ndarray:
    try:
        return decode_image(content, f"{len(content)} bytes")
    except ValueError as error:
        raise DataError(str(error)) from error


def _of_array(image: np.ndarray) -> np.ndarray:
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or channels not in CHANNELS \
            or not image.size:
        raise ValueError("an image must be (H, W, 3) BGR or (H, W) grey, uint8; got "
                         f"{image.shape} {image.dtype}{_array_hint(image)}")
    if channels == 1:
        return cv2.cvtColor(image.reshape(image.shape[:2]), cv2.COLOR_GRAY2BGR)
    return image if channels == 3 else np.ascontiguousarray(image[..., :3])


def _array_hint(image: np.ndarray) -> str:
    if image.ndim == 3 and image.shape[0] in CHANNELS and image.dtype == np.uint8 and image.size:
        return "; .transpose(1, 2, 0) puts the channels last"
    if image.dtype.kind == "f":
        return "; (image * 255).astype(numpy.uint8) makes pixels of values from 0 to 1"
    return "; several images: call .batch(images)" if image.ndim == 4 else ""


def _of_tensor(image: torch.Tensor) -> np.ndarray:
    values = image.detach().cpu()
    shape = f"{tuple(values.shape)} {str(values.dtype).removeprefix('torch.')}"
    if values.ndim == 2:
        values = values[None]
    first = values.ndim == 3 and values.shape[0] in CHANNELS
    last = values.ndim == 3 and not first and values.shape[2] in CHANNELS
    if not (first or last) or not values.numel():
        hint = "; several images: call .batch(images)" if values.ndim == 4 else ""
        raise ValueError("a tensor of an image must be (3, H, W) RGB, (1, H, W) or (H, W), or have "
                         f"its channels last; got {shape}{hint}")
    pixels = _as_bytes(values, shape).numpy()
    rgb = pixels.transpose(1, 2, 0) if first else pixels
    return np.ascontiguousarray(rgb[..., [2, 1, 0]] if rgb.shape[2] > 1 else rgb.repeat(3, axis=2))


def _as_bytes(values: torch.Tensor, shape: str) -> torch.Tensor:
    if values.dtype == torch.uint8:
        return values
    if not values.is_floating_point():
        raise ValueError(f"a tensor of an image must be uint8, or float from 0 to 1; got {shape}")
    values = values.float()
    low, high = float(values.min()), float(values.max())
    if not (low >= -SLACK and high <= 1 + SLACK):           # also where one is nan
        raise ValueError("a float tensor of an image has values from 0 to 1; these go from "
                         f"{low:g} to {high:g}: give it before it is normalised, or as uint8")
    return (values.clamp(0, 1) * 255).round().to(torch.uint8)


def _of_pil(image: PILImage) -> np.ndarray:
    from PIL import ImageOps

    try:
        shown: Any = ImageOps.exif_transpose(image)
        if shown.mode == "F":
            raise ValueError("a PIL image of mode F (floats): what would be white? Convert it to L")
        if shown.mode.startswith("I"):                      # 16 bits: the upper eight, as of files
            deep = np.clip(np.array(shown), 0, 65535)
            return cv2.cvtColor((deep >> 8).astype(np.uint8), cv2.COLOR_GRAY2BGR)
        return np.ascontiguousarray(np.array(shown.convert("RGB"))[..., ::-1])
    except (OSError, SyntaxError) as error:                 # it is read when it is needed
        raise DataError(f"the PIL image cannot be read: {error}") from error
