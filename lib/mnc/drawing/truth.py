"""Training images as the net sees them, with their masks and boxes over them.

    pictures = augmented_pictures(*prepare(dataset), Augmentation.of(cfg))
    write_report(path, "augmented", pictures)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from mnc.data.augmentation import Augmentation
from mnc.data.minibatch import sample_of
from mnc.data.roidb import Entry
from mnc.data.views import Sample
from mnc.drawing.instances import clipped_corners, instance_colors

TINT = 0.3                  # share of the colour inside a mask
SIDE = 420                  # pixels of the long side of a picture


def draw_sample(sample: Sample, long_side: int = SIDE) -> np.ndarray:
    """The image (H', W', 3) uint8 BGR with a tinted mask and a thin box for each instance.


    """
    factor = long_side / max(sample.size)
    picture = cv2.resize(sample.image, None, fx=factor, fy=factor)
    colors = instance_colors(len(sample.labels)).astype(float)
    size = picture.shape[:2]
    for box, mask, color in zip(sample.boxes, sample.masks or [None] * len(colors), colors):
        x1, y1, x2, y2 = clipped_corners(
            (np.asarray(box, float) + [-.5, -.5, .5, .5] + .5) * factor - [0, 0, 1, 1], size)
        if mask is not None:
            inside = cv2.resize(mask.astype(np.float32), (x2 - x1 + 1, y2 - y1 + 1)) >= .5
            window = picture[y1:y2 + 1, x1:x2 + 1]
            window[inside] = window[inside] * (1 - TINT) + color * TINT
        cv2.rectangle(picture, (x1, y1), (x2, y2), color.tolist(), 1)
    return picture


def augmented_pictures(roidb: Sequence[Entry], maskdb: Sequence[Entry], how: Augmentation, *,
                       images: int = 6, views: int = 4,
                       seed: int = 0) -> Iterator[tuple[str, np.ndarray]]:
    """(caption, picture) of images evenly over the data bases: each as it is, then in other views.

    The data bases are mnc.data.roidb.prepare's. Raises DataError for an image that cannot be read.
    """
    chosen = np.unique(np.linspace(0, len(roidb) - 1, images).round().astype(int)).tolist()
    for row in chosen:
        sample = sample_of(roidb[row], maskdb[row])
        for number in range(views + 1):
            generator = np.random.default_rng([seed, row, number])
            seen = how.changed(sample, generator) if number else sample
            zoom = f", zoom {seen.zoom:.2f}" if number else ", as it is"
            yield (f"{roidb[row]['name']}: {len(seen.labels)} of {len(sample.labels)} instances, "
                   f"{seen.size[1]} x {seen.size[0]} pixels{zoom}"), draw_sample(seen)
