"""Textures of the drawn instances, and the cluttered backgrounds.

A texture is a field (H, W) in [0, 1] that mixes two colours. Its grain is in pixels, whatever the
size of the instance.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np


def smooth_noise(rng: np.random.Generator, height: int, width: int, sigma: float) -> np.ndarray:
    """Gaussian noise blurred by sigma pixels, mean 0, deviation about 1.

    (height, width) float32.
    """
    noise = cv2.GaussianBlur(rng.standard_normal((height, width), dtype=np.float32), (0, 0), sigma)
    return noise * (2 * np.sqrt(np.pi) * sigma)


def turned_grid(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel coordinates in a frame of random angle and origin: two fields (H, W)."""
    angle, x0, y0 = rng.uniform(0, np.pi), *rng.uniform(0, 100, 2)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return ((x + x0) * np.cos(angle) + (y + y0) * np.sin(angle),
            (y + y0) * np.cos(angle) - (x + x0) * np.sin(angle))


def stripes(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Parallel bands. (height, width) in 0 .. 1"""
    u, _ = turned_grid(rng, height, width)
    return 0.5 + 0.5 * np.tanh(2.5 * np.sin(2 * np.pi * u / rng.uniform(8.5, 12)))


def spots(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Round dots on a turned square lattice. (height, width) in 0 .. 1"""
    u, v = turned_grid(rng, height, width)
    period = rng.uniform(10.5, 13.5)
    distance = np.hypot(u % period - period / 2, v % period - period / 2)
    return np.clip(0.32 * period - distance + 0.5, 0, 1)


def marble(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Soft irregular blotches. (height, width) in 0 .. 1"""
    return 0.5 + 0.5 * np.tanh(smooth_noise(rng, height, width, rng.uniform(4.5, 6.5)))


TEXTURES: dict[str, Callable[[np.random.Generator, int, int], np.ndarray]] = {
    f.__name__: f for f in (stripes, spots, marble)}


def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """One colour as float (3,) BGR in [0, 255]; all arguments in [0, 1]."""
    pixel = np.array([[[360 * hue, saturation, value]]], np.float32)
    return 255 * cv2.cvtColor(pixel, cv2.COLOR_HSV2BGR)[0, 0]


def background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A dull uneven ground with faint discs, bars and strokes, of no class: float32 (H, W, 3)."""
    ends = [hsv(rng.uniform(), rng.uniform(0, 0.35), rng.uniform(0.25, 0.85)) for _ in range(2)]
    u, _ = turned_grid(rng, height, width)
    ramp = ((u - u.min()) / np.ptp(u))[..., None]
    image = (ends[0] * (1 - ramp) + ends[1] * ramp).astype(np.float32)
    for _ in range(rng.integers(8, 18)):
        image = clutter(rng, image)
    grain = smooth_noise(rng, height, width, rng.uniform(2, 8))
    return cv2.GaussianBlur(image + 7 * grain[..., None], (0, 0), 0.8)


def clutter(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """The image with one more faint thing on it. (H, W, 3) float32 BGR"""
    height, width = image.shape[:2]
    stencil = np.zeros((height, width), np.float32)
    centre = (int(rng.integers(width)), int(rng.integers(height)))
    kind = rng.integers(3)
    if kind == 0:
        cv2.circle(stencil, centre, int(rng.integers(5, 40)), 1.0, -1, cv2.LINE_AA)
    elif kind == 1:
        frame = (centre, tuple(rng.uniform(10, 90, 2)), rng.uniform(0, 180))
        cv2.fillPoly(stencil, [cv2.boxPoints(frame).astype(np.int32)], 1.0, cv2.LINE_AA)
    else:
        end = (int(rng.integers(width)), int(rng.integers(height)))
        cv2.line(stencil, centre, end, 1.0, int(rng.integers(1, 6)), cv2.LINE_AA)
    tint = rng.uniform(-40, 40) + rng.uniform(-14, 14, 3)
    return image + stencil[..., None] * tint.astype(np.float32)
