"""TransformationParameter: what happens to an image on its way into a batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from caffe.data.blob_file import read_blob


class Transformer:
    """y = (x - mean) * scale on a window of crop_size, mirrored in half of the cases if `mirror`

    The window is drawn in TRAIN and central in TEST; a mean_file has the size of the whole image
    and is cut alike. mean_value: one, or one a channel.
    """

    def __init__(self, options: Any, *, train: bool) -> None:
        self.train, self.scale = train, np.float32(options.scale)
        self.crop, self.mirror = options.crop_size, options.mirror
        if options.force_color and options.force_gray:
            raise ValueError("transform_param: force_color and force_gray exclude each other")
        self.color = True if options.force_color else False if options.force_gray else None
        if options.HasField("mean_file") and options.mean_value:
            raise ValueError("transform_param: mean_file and mean_value exclude each other")
        self.mean_file = options.mean_file
        self.mean = read_mean(options.mean_file) if options.HasField("mean_file") else None
        self.mean_value = np.array(options.mean_value, np.float32)

    def check(self, shape: tuple[int, int, int]) -> None:
        """ValueError if images (C, H, W) of this shape cannot be transformed."""
        channels, height, width = shape
        if self.crop > min(height, width):
            raise ValueError(f"crop_size {self.crop} is larger than an image of {height} x {width}")
        if self.mean is not None and self.mean.shape != shape:
            raise ValueError(f"the mean in {self.mean_file} has the shape {self.mean.shape}, the "
                             f"image {shape}")
        if len(self.mean_value) not in (0, 1, channels):
            raise ValueError(f"{len(self.mean_value)} mean_value for an image of {channels} "
                             f"channels; give one, or one a channel")

    def output_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """The shape of what an image (C, H, W) of this shape becomes."""
        self.check(shape)
        return (shape[0], self.crop, self.crop) if self.crop else shape

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """The transformed image, float32."""
        self.check(image.shape)
        flipped = self.mirror and random.integers(2) == 1
        window = self._window(image.shape, random)
        result = image[window].astype(np.float32)
        if self.mean is not None:
            result -= self.mean[window]
        elif len(self.mean_value):
            result -= self.mean_value[:, None, None]
        result *= self.scale
        return result[:, :, ::-1] if flipped else result

    def _window(self, shape: tuple[int, ...], random: np.random.Generator) -> tuple[slice, ...]:
        if not self.crop:
            return (slice(None),) * 3
        starts = [int(random.integers(free + 1)) if self.train else free // 2
                  for free in (n - self.crop for n in shape[1:])]
        return (slice(None), *(slice(s, s + self.crop) for s in starts))


def read_mean(path: str) -> np.ndarray:
    """The mean image in a .binaryproto, (C, H, W) float32."""
    mean = read_blob(path)
    if mean.ndim == 4 and len(mean) == 1:
        mean = mean[0]
    if mean.ndim != 3:
        raise ValueError(f"{path}: a mean must be one image, got an array of shape {mean.shape}")
    return mean.astype(np.float32)
