"""Training images seen otherwise each time: what may change, and by how much.

    how = Augmentation.of(cfg)                      # TRAIN.AUGMENT
    other = how.changed(sample, np.random.default_rng([seed, number]))

Where things are is changed by mnc.data.views, how they look by mnc.data.appearance. The draws of an
image depend on nothing but its generator, so that they can be made ahead, in any thread, and again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from mnc.config import ConfigError
from mnc.data.appearance import Appearance
from mnc.data.views import Sample, View

TRIES = 10                  # views drawn for an image until one holds an instance


@dataclass(frozen=True)
class Augmentation:
    """The most that each may change; a draw is uniform between nothing and that. See TRAIN.AUGMENT
    in mnc.config for the units; the defaults change nothing.
    """

    flip_vertical: float = 0.0
    rotate_90: float = 0.0
    rotate: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    crop: float = 1.0
    min_visible: float = 0.25
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    cutout: int = 0

    def __post_init__(self) -> None:
        """Raises ConfigError for a value that nothing could be drawn from."""
        limits = {"flip_vertical": 1, "rotate_90": 1, "rotate": 180, "min_visible": 1, "crop": 1,
                  "brightness": 1, "contrast": 1, "saturation": 1, "hue": 180}
        for name in (field.name for field in fields(self)):
            value = getattr(self, name)
            if name != "scale" and not 0 <= value <= limits.get(name, np.inf):
                most = f"from 0 to {limits[name]}" if name in limits else "0 or more"
                raise ConfigError(f"TRAIN.AUGMENT.{name.upper()} must be {most}, got {value!r}")
        if self.crop <= 0:
            raise ConfigError(f"TRAIN.AUGMENT.CROP must be above 0, got {self.crop!r}")
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] < np.inf:
            raise ConfigError("TRAIN.AUGMENT.SCALE must be two factors, the smaller one first, got "
                              f"{list(self.scale)!r}")

    @classmethod
    def of(cls, cfg: Mapping[str, Any]) -> Augmentation:
        """What mnc.config.cfg says now."""
        given = {key.lower(): value for key, value in cfg["TRAIN"]["AUGMENT"].items()}
        return cls(**{**given, "scale": tuple(given["scale"])})

    @property
    def active(self) -> bool:
        """Whether anything is changed."""
        return replace(self, min_visible=Augmentation.min_visible) != Augmentation()

    def changed(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """The image and its instances, seen otherwise.

        An instance of which less than `min_visible` of its pixels (of its box, where it has no
        mask) are left by cropping and cut-outs is dropped. Where that drops all in each of TRIES
        views, the image keeps its own view.
        """
        view = View.of(sample.size)
        for _ in range(TRIES):
            drawn = View.drawn(sample.size, self, generator)
            seen = drawn.instances(sample, self.min_visible)
            if len(seen.labels):
                view = drawn
                break
        else:
            seen = sample
        look = Appearance.drawn(self, generator)
        image = view.cut_out(look.changed(view.image(sample.image), generator))
        return replace(seen, image=image, zoom=view.zoom)


# What `mnc train --augment NAME` sets; docs/own_data.md says what they gain.
PRESETS: dict[str, dict[str, Any]] = {
    "none": {},
    "light": {"SCALE": (0.8, 1.25), "BRIGHTNESS": 0.1, "CONTRAST": 0.1},
    "strong": {"ROTATE": 10.0, "SCALE": (0.5, 2.0), "CROP": 0.8, "BRIGHTNESS": 0.2,
               "CONTRAST": 0.3, "SATURATION": 0.3, "HUE": 10.0, "BLUR": 1.0, "NOISE": 6.0,
               "CUTOUT": 2},
    "microscopy": {"FLIP_VERTICAL": 0.5, "ROTATE_90": 0.75, "ROTATE": 15.0, "SCALE": (0.7, 1.4),
                   "BRIGHTNESS": 0.2, "CONTRAST": 0.2, "BLUR": 0.7, "NOISE": 3.0},
}


def preset(name: str) -> dict[str, Any]:
    """By dotted keys of cfg, every key of TRAIN.AUGMENT; raises KeyError for another name."""
    own = {field.name.upper(): field.default for field in fields(Augmentation)}
    return {f"TRAIN.AUGMENT.{key}": value for key, value in (own | PRESETS[name]).items()}
