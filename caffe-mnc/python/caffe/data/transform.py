"""TransformationParameter: what happens to an image on its way into a batch."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from caffe.data.blob_file import read_blob
from caffe.data.noise import add_noise, check_noise
from caffe.data.objects import WHOLE
from caffe.data.resizing import Resizer

_ALL = (slice(None),) * 3


@dataclass(frozen=True)
class Transformed:
    """image (C, H, W) float32; window: which part of the image it shows, in shares; flipped"""

    image: np.ndarray
    window: np.ndarray
    flipped: bool


class Transformer:
    """y = (x - mean) * scale on a window of crop_size, mirrored in half of the cases if `mirror`

    The window is drawn in TRAIN and central in TEST; a mean_file has the size of the whole image
    and is cut alike. mean_value: one, or one a channel. SSD's: the image is resized
    (resize_param) and made worse (noise_param) before; crop_h and crop_w for unequal sides.
    `drawn` for each batch.
    """

    def __init__(self, options: Any, *, train: bool) -> None:
        self.train, self.scale = train, np.float32(options.scale)
        self.crop = (options.crop_size,) * 2 if options.crop_size \
            else (options.crop_h, options.crop_w)
        if (self.crop[0] > 0) != (self.crop[1] > 0):
            raise ValueError("transform_param: crop_h and crop_w must be given together")
        self.mirror = options.mirror
        if options.force_color and options.force_gray:
            raise ValueError("transform_param: force_color and force_gray exclude each other")
        self.color = True if options.force_color else False if options.force_gray else None
        if options.HasField("mean_file") and options.mean_value:
            raise ValueError("transform_param: mean_file and mean_value exclude each other")
        self.mean_file = options.mean_file
        self.mean = read_mean(options.mean_file) if options.HasField("mean_file") else None
        self.mean_value = np.array(options.mean_value, np.float32)
        given = [options.resize_param] if options.HasField("resize_param") else []
        self.resizers = [Resizer(each) for each in (*given, *options.other_resize_param)]
        self.resizer = self.resizers[0] if self.resizers else None
        self.noise = options.noise_param if options.HasField("noise_param") else None
        check_noise(options.noise_param)

    def drawn(self, random: np.random.Generator) -> Transformer:
        """This, or one with another of several resize_param, by their `prob` (MobileNet-YOLO)"""
        if len(self.resizers) < 2:
            return self
        weights = np.array([max(0, each.options.prob) for each in self.resizers]) + 1e-9
        other = copy.copy(self)
        other.resizer = self.resizers[random.choice(len(weights), p=weights / weights.sum())]
        return other

    def check(self, shape: tuple[int, ...]) -> None:
        """ValueError if (resized) images (C, H, W) of this shape cannot be transformed."""
        channels, height, width = shape
        if self.crop[0] > height or self.crop[1] > width:
            wanted = f"crop_size {self.crop[0]} is" if self.crop[0] == self.crop[1] \
                else f"crop_h {self.crop[0]} and crop_w {self.crop[1]} are"
            raise ValueError(f"{wanted} larger than an image of {height} x {width}")
        if self.mean is not None and self.mean.shape != shape:
            raise ValueError(f"the mean in {self.mean_file} has the shape {self.mean.shape}, the "
                             f"image {shape}")
        if len(self.mean_value) not in (0, 1, channels):
            raise ValueError(f"{len(self.mean_value)} mean_value for an image of {channels} "
                             f"channels; give one, or one a channel")

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of what an image (C, H, W) of this shape becomes."""
        if self.resizer:
            shape = (shape[0], *self.resizer.output_size((shape[1], shape[2])))
        self.check(shape)
        return (shape[0], *self.crop) if self.crop[0] else shape

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """The transformed image, float32."""
        return self.apply(image, random).image

    def apply(self, image: np.ndarray, random: np.random.Generator) -> Transformed:
        """The transformed image, and which part of it that is. (C, H, W) in, (C, H', W') out."""
        image = self._prepared(image, random)
        self.check(image.shape)
        flipped, window = self.place(image.shape, random)
        result = self.values(image, window)
        return Transformed(result[:, :, ::-1] if flipped else result,
                           _shares(window, image.shape), flipped)

    def place(self, shape: tuple[int, ...],
              random: np.random.Generator) -> tuple[bool, tuple[slice, ...]]:
        """Whether an image (C, H, W) is mirrored, and its window."""
        return bool(self.mirror and random.integers(2) == 1), self._window(shape, random)

    def values(self, image: np.ndarray, window: tuple[slice, ...] = _ALL) -> np.ndarray:
        """The window of an image (C, H, W), (x - mean) * scale, float32."""
        result = image[window].astype(np.float32)
        if self.mean is not None:
            result -= self.mean[window]
        elif len(self.mean_value):
            result -= self.mean_value[:, None, None]
        result *= self.scale
        return result

    def _prepared(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        if not (self.resizer or self.noise):
            return image
        pixels = np.ascontiguousarray(image.transpose(1, 2, 0))
        if self.resizer:
            pixels = self.resizer(pixels, random)
        if self.noise:
            pixels = add_noise(as_bytes(pixels, "noise_param"), self.noise, random)
        return pixels.transpose(2, 0, 1)

    def _window(self, shape: tuple[int, ...], random: np.random.Generator) -> tuple[slice, ...]:
        if not self.crop[0]:
            return _ALL
        starts = [int(random.integers(n - size + 1)) if self.train else (n - size) // 2
                  for n, size in zip(shape[1:], self.crop)]
        return (slice(None), *(slice(s, s + n) for s, n in zip(starts, self.crop)))


def _shares(window: tuple[slice, ...], shape: tuple[int, ...]) -> np.ndarray:
    """(xmin, ymin, xmax, ymax) of a window, in shares of the image"""
    if window[1].start is None:
        return WHOLE
    corners = [end / n for ends in ("start", "stop") for n, end in
               zip(shape[:0:-1], (getattr(window[i], ends) for i in (2, 1)))]
    return np.array(corners, np.float32)


def as_bytes(image: np.ndarray, option: str) -> np.ndarray:
    """The image; ValueError if it does not have 8 bits a channel, which `option` needs.

    (C, H, W), as it is.
    """
    if image.dtype != np.uint8:
        raise ValueError(f"{option} works on images of 8 bits a channel, not on {image.dtype}")
    return image


def read_mean(path: str) -> np.ndarray:
    """The mean image in a .binaryproto, (C, H, W) float32.

    Raises ValueError where the file holds no such array.
    """
    mean = read_blob(path)
    if mean.ndim == 4 and len(mean) == 1:
        mean = mean[0]
    if mean.ndim != 3:
        raise ValueError(f"{path}: a mean must be one image, got an array of shape {mean.shape}")
    return mean.astype(np.float32)
