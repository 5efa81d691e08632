"""Training images seen otherwise each time: what may change, and by how much.

    how = Augmentation.of(cfg)                      # TRAIN.AUGMENT
    other = how.changed(sample, np.random.default_rng([seed, number]))

Where things are is changed by mnc.data.views, how they look by mnc.data.appearance. The draws of an
image depend on nothing but its generator, so that they can be made ahead, in any thread, and again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from mnc.config import ConfigError
from mnc.data.appearance import Appearance
from mnc.data.minibatch import sample_of
from mnc.data.roidb import Entry
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


def shown(roidb: Sequence[Entry], maskdb: Sequence[Entry], how: Augmentation, *, images: int = 6,
          views: int = 4, seed: int = 0) -> Iterator[tuple[str, Sample]]:
    """(caption, sample) of images evenly over the data bases: each as it is, then in other views.

    The data bases are mnc.data.roidb.prepare's; mnc.drawing.truth draws the samples. Raises
    DataError for an image that cannot be read.
    """
    rows = np.unique(np.linspace(0, len(roidb) - 1, images).round().astype(int)).tolist()
    for row in rows:
        sample = sample_of(roidb[row], maskdb[row])
        for number in range(views + 1):
            generator = np.random.default_rng([seed, row, number])
            seen = how.changed(sample, generator) if number else sample
            said = f"size for the net × {seen.zoom:.2f}" if number else "as it is"
            yield (f"{roidb[row]['name']}, {said}: {len(seen.labels)} of {len(sample.labels)} "
                   f"instances, {seen.size[1]} x {seen.size[0]} pixels"), seen
