"""ResizeParameter: images of one size, and where their boxes go."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from caffe.proto.caffe_pb2 import ResizeParameter

INTERPOLATION = {ResizeParameter.LINEAR: cv2.INTER_LINEAR, ResizeParameter.AREA: cv2.INTER_AREA,
                 ResizeParameter.NEAREST: cv2.INTER_NEAREST, ResizeParameter.CUBIC: cv2.INTER_CUBIC,
                 ResizeParameter.LANCZOS4: cv2.INTER_LANCZOS4}
BORDER = {ResizeParameter.CONSTANT: cv2.BORDER_CONSTANT,
          ResizeParameter.MIRRORED: cv2.BORDER_REFLECT_101,
          ResizeParameter.REPEAT_NEAREST: cv2.BORDER_REPLICATE}


class Resizer:
    """WARP: to height x width.  FIT_SMALL_SIZE: so that it covers height x width, in its shape.
    FIT_LARGE_SIZE_AND_PAD: so that it fits inside, in its shape, centred, the rest padded

    Of several interp_mode one is drawn for each image. Raises ValueError if a size is missing.
    """

    def __init__(self, options: Any) -> None:
        self.options = options
        self.size = (options.height, options.width)
        if min(self.size) < 1:
            raise ValueError("resize_param needs height and width above 0")
        self.pads = options.resize_mode == options.FIT_LARGE_SIZE_AND_PAD
        self.varies = options.resize_mode == options.FIT_SMALL_SIZE

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of what an image of that size becomes"""
        return self._fitted(size) if self.varies else self.size

    def _fitted(self, size: tuple[int, int]) -> tuple[int, int]:
        """The size of the image itself, without padding, in whole pixels."""
        height, width = self._exact(size)
        return max(1, int(height)), max(1, int(width))

    def _exact(self, size: tuple[int, int]) -> tuple[float, float]:
        height, width = self.size
        if not (self.pads or self.varies):
            return height, width
        aspect = np.float32(size[1]) / np.float32(size[0])
        wider = aspect > np.float32(width) / np.float32(height)
        if wider == self.pads:
            return float(np.float32(width) / aspect), width
        return height, float(aspect * np.float32(height))

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """The resized image; both (H, W, C), uint8 or float32"""
        modes = list(self.options.interp_mode) or [self.options.LINEAR]
        mode = modes[random.integers(len(modes))] if len(modes) > 1 else modes[0]
        height, width = self._fitted(image.shape[:2])
        resized = cv2.resize(image, (width, height), interpolation=INTERPOLATION[mode])
        resized = resized.reshape(height, width, -1)
        return self._padded(resized) if self.pads else resized

    def _padded(self, image: np.ndarray) -> np.ndarray:
        free = [wanted - n for wanted, n in zip(self.size, image.shape[:2])]
        before = [n // 2 for n in free]
        value = list(self.options.pad_value) or [0]
        if len(value) not in (1, image.shape[2]):
            raise ValueError(f"resize_param: {len(value)} pad_value for {image.shape[2]} channels; "
                             f"give one, or one a channel")
        value = value * image.shape[2] if len(value) == 1 else value
        padded = cv2.copyMakeBorder(image, before[0], free[0] - before[0], before[1],
                                    free[1] - before[1], BORDER[self.options.pad_mode], value=value)
        return padded.reshape(*self.size, -1)

    def move(self, boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Boxes (K, 4) of an image of that size as boxes of the resized image"""
        boxes = boxes.clip(0, 1)
        if not self.pads:
            return boxes
        part = np.array(self._exact(size), np.float32) / np.array(self.size, np.float32)    # h, w
        scale = np.tile(part[::-1], 2)
        return boxes * scale + (1 - scale) / 2

    def on_canvas(self, boxes: np.ndarray, size: tuple[int, int],
                  window: np.ndarray) -> np.ndarray:
        """Boxes relative to `window` of the resized image, as shares of height_scale, width_scale

        Only of FIT_SMALL_SIZE, and if both are given; otherwise the boxes as they are.
        """
        canvas = self.options.height_scale, self.options.width_scale
        if not (self.varies and all(canvas)):
            return boxes
        exact = np.array(self._exact(size), np.float32)                     # height, width
        seen = exact[::-1] * (window[2:] - window[:2])                      # width, height
        return boxes * np.tile(seen / np.array(canvas[::-1], np.float32), 2)
