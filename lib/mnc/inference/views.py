"""An image seen mirrored, upside down, with rows for columns; and what was found there, back."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mnc.inference.settings import TestSettings
from mnc.instances import Raw


@dataclass(frozen=True)
class ImageView:
    """What is done to an image: transposed first, then turned upside down, then mirrored."""

    mirrored: bool = False          # left to right
    upside_down: bool = False
    transposed: bool = False        # rows for columns

    def image(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) as it is seen: (W, H, 3) where it is transposed."""
        image = image.swapaxes(0, 1) if self.transposed else image
        image = image[::-1] if self.upside_down else image
        return image[:, ::-1] if self.mirrored else image

    def back(self, raw: Raw, size: tuple[int, int]) -> Raw:
        """What was found in the view, of this size (H, W), in the image as it is."""
        raw = raw.mirrored(size[1]) if self.mirrored else raw
        raw = transposed(transposed(raw).mirrored(size[0])) if self.upside_down else raw
        return transposed(raw) if self.transposed else raw


def views_of(settings: TestSettings) -> Iterator[ImageView]:
    """All that the settings ask for, joined with each other: up to eight; first as it is."""
    asked = (settings.mirrored, settings.upside_down, settings.transposed)
    for chosen in itertools.product(*((False, True)[:1 + each] for each in reversed(asked))):
        yield ImageView(*reversed(chosen))


def transposed(raw: Raw) -> Raw:
    """The same with x for y."""
    corners = raw.boxes.reshape(len(raw.boxes), raw.boxes.shape[1] // 4, 4)[..., [1, 0, 3, 2]]
    return Raw(corners.reshape(raw.boxes.shape), raw.masks.swapaxes(1, 2), raw.scores)
