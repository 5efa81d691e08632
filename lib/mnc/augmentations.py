"""The settings under TRAIN.AUGMENT (mnc.config), and rows of them that `--augment NAME` sets.

docs/own_data.md says what the rows gain.
"""

from __future__ import annotations

from typing import Any

# what changes nothing; each draw is uniform between nothing and the most (mnc.data.augmentation)
AUGMENT: dict[str, Any] = {
    "FLIP_VERTICAL": 0.0,    # probability: upside down
    "ROTATE_90": 0.0,        # probability: by one, two or three quarters of a turn
    "ROTATE": 0.0,           # degrees, either way
    "SCALE": (1.0, 1.0),     # factor on the size that the net sees; enlarged, a window is cut
    "CROP": 1.0,             # least share of each side that a window keeps
    "MIN_VISIBLE": 0.25,     # an instance of which less of its pixels are left is dropped
    "BRIGHTNESS": 0.0,       # a factor on all values, 1 more or less this
    "CONTRAST": 0.0,         # likewise, on their distance from the image's mean grey
    "SATURATION": 0.0,       # likewise, on their distance from the pixel's grey
    "HUE": 0.0,              # degrees of the circle of colours, either way
    "BLUR": 0.0,             # standard deviation of a Gaussian, pixels of the original image
    "NOISE": 0.0,            # standard deviation, of 255
    "CUTOUT": 0,             # rectangles hidden, of up to 0.3 of each side
}

AUGMENTATIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "light": {"SCALE": (0.8, 1.25), "BRIGHTNESS": 0.1, "CONTRAST": 0.1},
    "strong": {"ROTATE": 10.0, "SCALE": (0.5, 2.0), "CROP": 0.8, "BRIGHTNESS": 0.2,
               "CONTRAST": 0.3, "SATURATION": 0.3, "HUE": 10.0, "BLUR": 1.0, "NOISE": 6.0,
               "CUTOUT": 2},
    # no side is up, and no colour means much
    "microscopy": {"FLIP_VERTICAL": 0.5, "ROTATE_90": 0.75, "ROTATE": 15.0, "SCALE": (0.7, 1.4),
                   "BRIGHTNESS": 0.2, "CONTRAST": 0.2, "BLUR": 0.7, "NOISE": 3.0},
}


def settings_of(name: str) -> dict[str, Any]:
    """All of TRAIN.AUGMENT by dotted keys, as this name has it. Raises KeyError for another."""
    values = AUGMENT | AUGMENTATIONS[name]
    return {f"TRAIN.AUGMENT.{key}": value for key, value in values.items()}
