"""How an image looks: brightness, contrast, colour, sharpness, noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from mnc.data.augmentation import Augmentation

GREY = np.array([0.114, 0.587, 0.299], np.float32)      # of B, G, R (ITU-R BT.601)


@dataclass(frozen=True)
class Appearance:
    """Changes in this order, of values 0 .. 255; the defaults change nothing."""

    hue: float = 0.0            # degrees around the circle of colours
    saturation: float = 1.0     # factor on the distance from grey
    contrast: float = 1.0       # factor on the distance from the image's mean grey
    brightness: float = 1.0     # factor
    blur: float = 0.0           # standard deviation, pixels
    noise: float = 0.0          # standard deviation, of 255

    @classmethod
    def drawn(cls, how: Augmentation, generator: np.random.Generator) -> Appearance:
        """By chance, each between nothing and the most."""
        hue, saturation, contrast, brightness = (
            float(generator.uniform(-most, most))
            for most in (how.hue, how.saturation, how.contrast, how.brightness))
        blur, noise = (float(generator.uniform(0, most)) for most in (how.blur, how.noise))
        return cls(hue, 1 + saturation, 1 + contrast, 1 + brightness, blur, noise)

    def changed(self, image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Another image (H, W, 3) uint8 BGR; the same where nothing changes.

        generator: of the noise.
        """
        if self == Appearance():
            return image
        values: np.ndarray = image.astype(np.float32)
        if self.hue:
            values = _hue_shifted(values, self.hue)
        if self.saturation != 1:
            grey = (values @ GREY)[..., None]
            values = grey + self.saturation * (values - grey)
        if (self.contrast, self.brightness) != (1, 1):
            mean = float((values @ GREY).mean())
            values = self.brightness * (self.contrast * (values - mean) + mean)
        if self.blur:
            values = cv2.GaussianBlur(values, (0, 0), self.blur)
        if self.noise:
            values += generator.standard_normal(values.shape, np.float32) * self.noise
        return np.clip(np.round(values), 0, 255).astype(np.uint8)


def _hue_shifted(values: np.ndarray, degrees: float) -> np.ndarray:
    hsv = cv2.cvtColor(values, cv2.COLOR_BGR2HSV)           # of float32: hue 0 .. 360
    hsv[..., 0] = (hsv[..., 0] + degrees) % 360
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
