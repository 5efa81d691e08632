"""NoiseParameter and DistortionParameter: other light, other colours, worse pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

GREY_LEVELS = 64        # posterize keeps one of so many levels
Change = Callable[[np.ndarray, Any, np.random.Generator], np.ndarray]


def check_noise(options: Any) -> None:
    """ValueError if a NoiseParameter asks for what cannot be had."""
    if options.convert_to_lab:
        raise ValueError("noise_param.convert_to_lab makes images that are not 8-bit, at which SSD "
                         "ends; leave it out")


def add_noise(image: np.ndarray, options: Any, random: np.random.Generator) -> np.ndarray:
    """The image (H, W, C) uint8 after everything that a NoiseParameter switches on."""
    for name, change in NOISES.items():
        if getattr(options, name) > 0:
            image = change(image, options, random).reshape(image.shape)
    return image


def _on_brightness(image: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    if image.shape[2] == 1:
        return change(image[:, :, 0])
    parts = cv2.cvtColor(image, cv2.COLOR_BGR2YCrCb)
    parts[:, :, 0] = change(np.ascontiguousarray(parts[:, :, 0]))
    return cv2.cvtColor(parts, cv2.COLOR_YCrCb2BGR)


def _decolorize(image: np.ndarray, options: Any, random: np.random.Generator) -> np.ndarray:
    if image.shape[2] == 1:
        return image
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)


def _jpeg(image: np.ndarray, options: Any, random: np.random.Generator) -> np.ndarray:
    _, content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(options.jpeg)])
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_UNCHANGED))


def _saltpepper(image: np.ndarray, options: Any, random: np.random.Generator) -> np.ndarray:
    image, salt = image.copy(), options.saltpepper_param
    height, width, channels = image.shape
    count = int(salt.fraction * height * width)
    values = list(salt.value) or [0]
    if len(values) not in (1, channels):
        raise ValueError(f"saltpepper_param: {len(values)} value for {channels} channels; give "
                         f"one, or one a channel")
    image[random.integers(height, size=count), random.integers(width, size=count)] = values
    return image


# In the order in which SSD applies them.
NOISES: dict[str, Change] = {
    "decolorize": _decolorize,
    "gauss_blur": lambda image, *_: cv2.GaussianBlur(image, (7, 7), 1.5),
    "hist_eq": lambda image, *_: _on_brightness(image, cv2.equalizeHist),
    "clahe": lambda image, *_: _on_brightness(image, cv2.createCLAHE(clipLimit=4).apply),
    "jpeg": _jpeg,
    "erode": lambda image, *_: cv2.erode(
        image, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))),
    "posterize": lambda image, *_: image // GREY_LEVELS * GREY_LEVELS + GREY_LEVELS // 2,
    "inverse": lambda image, *_: 255 - image,
    "saltpepper": _saltpepper,
    "convert_to_hsv": lambda image, *_: cv2.cvtColor(image, cv2.COLOR_BGR2HSV),
}


def distort(image: np.ndarray, options: Any, random: np.random.Generator) -> np.ndarray:
    """The image (H, W, C) uint8 in other light and colours, as a DistortionParameter draws them

    Brightness first; contrast before saturation and hue, or behind them; the channels' order last.
    """
    color = [_saturation, _hue] if image.shape[2] == 3 else []
    middle = [_contrast, *color] if random.random() > 0.5 else [*color, _contrast]
    for change in (_brightness, *middle, _order):
        image = change(image, options, random)
    return image


def _brightness(image: np.ndarray, options: Any, random: np.random.Generator) -> np.ndarray:
    if random.random() >= options.brightness_prob:
        return image
    return _scaled(image, 1, random.uniform(-options.brightness_delta, options.brightness_delta))


def _contrast(image: np.ndarray, options: Any, random: np.random.Generator) -> np.ndarray:
    if random.random() >= options.contrast_prob:
        return image
    return _scaled(image, random.uniform(options.contrast_lower, options.contrast_upper), 0)


def _saturation(image: np.ndarray, options: Any, random: np.random.Generator) -> np.ndarray:
    if random.random() >= options.saturation_prob:
        return image
    factor = random.uniform(options.saturation_lower, options.saturation_upper)
    return _in_hsv(image, 1, factor, 0)


def _hue(image: np.ndarray, options: Any, random: np.random.Generator) -> np.ndarray:
    if random.random() >= options.hue_prob:
        return image
    return _in_hsv(image, 0, 1, random.uniform(-options.hue_delta, options.hue_delta))


def _order(image: np.ndarray, options: Any, random: np.random.Generator) -> np.ndarray:
    if random.random() >= options.random_order_prob:
        return image
    return image[:, :, random.permutation(image.shape[2])]


def _in_hsv(image: np.ndarray, channel: int, factor: float, shift: float) -> np.ndarray:
    parts = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_BGR2HSV)
    parts[:, :, channel] = _scaled(parts[:, :, channel], factor, shift)
    return cv2.cvtColor(parts, cv2.COLOR_HSV2BGR)


def _scaled(values: np.ndarray, factor: float, shift: float) -> np.ndarray:
    """factor x + shift, rounded, cut to 0 .. 255; from a table of all 256 values"""
    table = (np.arange(256) * factor + shift).round().clip(0, 255).astype(np.uint8)
    return table[values]


def check_distortion(options: Any) -> None:
    """ValueError if a DistortionParameter has limits the wrong way round."""
    for name in ("contrast", "saturation"):
        lower, upper = (getattr(options, f"{name}_{end}") for end in ("lower", "upper"))
        if getattr(options, f"{name}_prob") > 0 and not 0 <= lower <= upper:
            raise ValueError(f"distort_param: {name}_lower and {name}_upper must be 0 <= lower <= "
                             f"upper, got {lower:g} and {upper:g}")
    for name in ("brightness", "hue"):
        if getattr(options, f"{name}_delta") < 0:
            raise ValueError(f"distort_param: {name}_delta must not be below 0")
