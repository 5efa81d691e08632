"""Arrays in and out: messages of Caffe, image files, and `Transformer`, from images to net inputs.

Images are (H, W, K) float arrays, RGB in [0, 1]; net inputs are (K, H, W).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from scipy.ndimage import zoom

from caffe.engine.errors import CaffeError
from caffe.engine.formats import image_file
from caffe.engine.optional import need
from caffe.proto import caffe_pb2

# --- messages ------------------------------------------------------------------------------------


def blobproto_to_array(blob: Any, return_diff: bool = False) -> np.ndarray:
    """The data (or diff) of a BlobProto in its shape, be it the new one or num ... width."""
    kind = "diff" if return_diff else "data"
    values = np.array(getattr(blob, kind) or getattr(blob, f"double_{kind}"), dtype=float)
    legacy = ("num", "channels", "height", "width")
    if any(blob.HasField(field) for field in legacy):
        return values.reshape([getattr(blob, field) for field in legacy])
    return values.reshape(tuple(blob.shape.dim))


def array_to_blobproto(arr: np.ndarray, diff: np.ndarray | None = None) -> Any:
    """A BlobProto of an array of any shape; with its gradient if given."""
    blob = caffe_pb2.BlobProto()
    blob.shape.dim.extend(arr.shape)
    blob.data.extend(arr.astype(float).flat)
    if diff is not None:
        blob.diff.extend(diff.astype(float).flat)
    return blob


def arraylist_to_blobprotovector_str(arraylist: Iterable[np.ndarray]) -> bytes:
    """The arrays as one serialized BlobProtoVector. Of any shape."""
    return caffe_pb2.BlobProtoVector(blobs=map(array_to_blobproto, arraylist)).SerializeToString()


def blobprotovector_str_to_arraylist(str: bytes) -> list[np.ndarray]:
    """The arrays in a serialized BlobProtoVector. Shapes are those in it."""
    return [blobproto_to_array(b) for b in caffe_pb2.BlobProtoVector.FromString(str).blobs]


def array_to_datum(arr: np.ndarray, label: int | None = None) -> Any:
    """A Datum of an array (K, H, W): uint8 as bytes, everything else as floats.

    Raises ValueError for any other shape.
    """
    if arr.ndim != 3:
        raise ValueError(f"a Datum holds (channels, height, width), got the shape {arr.shape}")
    datum = caffe_pb2.Datum(channels=arr.shape[0], height=arr.shape[1], width=arr.shape[2])
    if arr.dtype == np.uint8:
        datum.data = arr.tobytes()
    else:
        datum.float_data.extend(arr.astype(float).flat)
    if label is not None:
        datum.label = label
    return datum


def datum_to_array(datum: Any) -> np.ndarray:
    """The array (K, H, W) in a Datum, its label left out: uint8, or float for float_data.

    Raises ValueError for an encoded image.
    """
    if datum.encoded:
        raise ValueError("the Datum holds an encoded image file (encoded: true); decode datum.data "
                         "with an image library")
    values = np.frombuffer(datum.data, np.uint8).copy() if datum.data \
        else np.array(datum.float_data, dtype=float)
    return values.reshape(datum.channels, datum.height, datum.width)


# --- from images to net inputs, and back -----------------------------------------------------

class Transformer:
    """Turns images into net inputs: resize, transpose, swap channels, raw_scale, mean, input_scale.

    inputs: name of each input -> its shape (N, K, H, W). The steps run in this order; those that
    were not set are left out. `deprocess` goes back, but for the size.
    """

    def __init__(self, inputs: dict[str, Sequence[int]]) -> None:
        self.inputs = {name: tuple(shape) for name, shape in inputs.items()}
        self.transpose: dict[str, Sequence[int]] = {}
        self.channel_swap: dict[str, Sequence[int]] = {}
        self.raw_scale: dict[str, float] = {}
        self.mean: dict[str, np.ndarray] = {}
        self.input_scale: dict[str, float] = {}

    def preprocess(self, in_: str, data: np.ndarray) -> np.ndarray:
        """An image (H', W', K) as input `in_` wants it: (K, H, W) float32. `data` stays."""
        self._check(in_)
        image = np.asarray(data, np.float32)
        size = self.inputs[in_][2:]
        if image.shape[:2] != size:
            image = resize_image(image, size)
        if in_ in self.transpose:
            image = image.transpose(self.transpose[in_])
        if in_ in self.channel_swap:
            image = image[self._swapped(in_, len(image))]
        image = image.copy()
        image *= self.raw_scale.get(in_, 1)
        if in_ in self.mean:
            image -= self.mean[in_]
        image *= self.input_scale.get(in_, 1)
        return image

    def deprocess(self, in_: str, data: np.ndarray) -> np.ndarray:
        """An input blob of one image as an image again (a copy)."""
        self._check(in_)
        image = data.copy().squeeze()
        image /= self.input_scale.get(in_, 1)
        if in_ in self.mean:
            image += self.mean[in_]
        image /= self.raw_scale.get(in_, 1)
        if in_ in self.channel_swap:
            image = image[np.argsort(self.channel_swap[in_])]
        if in_ in self.transpose:
            image = image.transpose(np.argsort(self.transpose[in_]))
        return image

    def set_transpose(self, in_: str, order: Sequence[int]) -> None:
        """Order of the image's axes in the input: (2, 0, 1) for (H, W, K) -> (K, H, W).

        Raises ValueError for another number of axes.
        """
        self._check(in_)
        if len(order) != len(self.inputs[in_]) - 1:
            raise ValueError(f"transpose {tuple(order)}: input {in_} has "
                             f"{len(self.inputs[in_]) - 1} axes beside the batch")
        self.transpose[in_] = order

    def set_channel_swap(self, in_: str, order: Sequence[int]) -> None:
        """Order of the channels, by their places before: (2, 1, 0) for RGB <-> BGR.

        Raises ValueError for another number of channels.
        """
        self._check(in_)
        if len(order) != self.inputs[in_][1]:
            raise ValueError(f"channel_swap {tuple(order)}: input {in_} has "
                             f"{self.inputs[in_][1]} channels")
        self.channel_swap[in_] = order

    def _swapped(self, in_: str, channels: int) -> list[int]:
        order = list(self.channel_swap[in_])
        if max(order, default=0) >= channels:
            raise ValueError(f"channel_swap {tuple(order)}: the image for input {in_} has "
                             f"{channels} channel(s)")
        return order

    def set_raw_scale(self, in_: str, scale: float) -> None:
        """Factor before the mean is subtracted: 255 for images in [0, 1]."""
        self._check(in_)
        self.raw_scale[in_] = scale

    def set_mean(self, in_: str, mean: np.ndarray) -> None:
        """What to subtract: (K,), or (K, H, W) or (H, W), resized to the input if need be.

        Raises ValueError for other shapes and numbers of channels.
        """
        self._check(in_)
        channels, *size = self.inputs[in_][1:]
        if mean.ndim not in (1, 2, 3):
            raise ValueError(f"mean of shape {mean.shape}: give (K,), (H, W) or (K, H, W)")
        given = {1: len(mean), 2: 1, 3: len(mean)}[mean.ndim]
        if given not in (1, channels):
            raise ValueError(f"mean of {given} channels: input {in_} has {channels}")
        if mean.ndim == 1:
            mean = mean[:, None, None]
        elif list(mean.shape[-2:]) != size:
            mean = _resized_mean(mean.reshape(given, *mean.shape[-2:]), size)
        self.mean[in_] = mean

    def set_input_scale(self, in_: str, scale: float) -> None:
        """Factor after the mean is subtracted."""
        self._check(in_)
        self.input_scale[in_] = scale

    def _check(self, in_: str) -> None:
        if in_ not in self.inputs:
            raise CaffeError(f"{in_} is not an input of the net; inputs: {', '.join(self.inputs)}")


def _resized_mean(mean: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """(K, h, w) -> (K, *size); goes through [0, 1], as the image resize of old expected."""
    low, span = mean.min(), np.ptp(mean) or 1
    image = ((mean - low) / span).transpose(1, 2, 0)
    return resize_image(image, size).transpose(2, 0, 1) * span + low


# --- image files and sizes ---------------------------------------------------------------------

def load_image(filename: str | os.PathLike[str], color: bool = True) -> np.ndarray:
    """An image file as (H, W, 3) RGB, or (H, W, 1) grey if not `color`: float32 in [0, 1].

    Of animations and of files of several pages the first image; photographs upright, as their Exif
    data says; alpha is left out, in grey images of colours blended with white. ValueError if it is
    no image, damaged or too large.
    """
    skimage = need("skimage.color", package="scikit-image", feature="caffe.io.load_image")
    pixels = image_file.decode_exactly(image_file.read_file(filename), os.fspath(filename))
    if pixels.ndim == 3 and not color:
        pixels = skimage.color.rgb2gray(
            skimage.color.rgba2rgb(pixels) if pixels.shape[2] == 4 else pixels)
    image = skimage.util.img_as_float(pixels).astype(np.float32)
    if image.ndim == 2:
        return np.tile(image[:, :, None], (1, 1, 3 if color else 1))
    return image[:, :, :3]


def resize_image(im: np.ndarray, new_dims: Sequence[int] | np.ndarray,
                 interp_order: int = 1) -> np.ndarray:
    """(H', W', K) -> (*new_dims, K) float32 by interpolation of `interp_order` (1: bilinear).

    For K = 1 or 3 pixel centres stay in place, what lies outside counts as the smallest value, and
    nothing is smoothed before shrinking. For other K corners stay in place.
    """
    height, width = (int(n) for n in new_dims[:2])
    if im.shape[-1] not in (1, 3):
        factors: Any = (height / im.shape[0], width / im.shape[1], *[1.0] * (im.ndim - 2))
        return np.asarray(zoom(im, factors, order=interp_order),     # type: ignore[call-overload]
                          np.float32)
    low, high = im.min(), im.max()
    if low == high:
        return np.full((height, width, im.shape[-1]), low, np.float32)
    transform = need("skimage.transform", package="scikit-image",
                     feature="caffe.io.resize_image").transform
    resized = transform.resize((im - low) / (high - low), (height, width), order=interp_order,
                               mode="constant", anti_aliasing=False)
    return (resized * (high - low) + low).astype(np.float32)


def oversample(images: Sequence[np.ndarray] | np.ndarray,
               crop_dims: Sequence[int] | np.ndarray) -> np.ndarray:
    """Ten crops an image (10 N, *crop_dims, K): four corners and the centre, then mirrored.

    Raises ValueError where the crops are larger than the images.
    """
    size, crop = np.array(images[0].shape[:2]), np.array([int(n) for n in crop_dims])
    if (crop > size).any():
        raise ValueError(f"crops of {crop[0]} x {crop[1]} do not fit into images of "
                         f"{size[0]} x {size[1]}")
    (bottom, right), (y, x) = size - crop, (size / 2 - crop / 2).astype(int)
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (y, x)]
    crops = []
    for image in images:
        five = [image[y:y + crop[0], x:x + crop[1]] for y, x in corners]
        crops += five + [piece[:, ::-1] for piece in five]
    return np.array(crops, np.float32)
