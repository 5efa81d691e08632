"""What `--augment NAME` (mnc.commands.train_options) sets: a row each, of the keys of
TRAIN.AUGMENT. docs/own_data.md says what they gain.
"""

from __future__ import annotations

from typing import Any

from mnc.config import DEFAULTS

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
    return {f"TRAIN.AUGMENT.{key}": AUGMENTATIONS[name].get(key, value)
            for key, value in DEFAULTS.TRAIN.AUGMENT.items()}
