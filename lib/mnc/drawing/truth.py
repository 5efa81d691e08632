"""Training images with their masks and boxes over them, as mnc.commands.data_show shows them.

    for caption, sample in mnc.data.augmentation.shown(...):
        picture = draw_truth(sample.image, sample.boxes, sample.masks)
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from mnc.drawing.instances import clipped_corners, instance_colors

TINT = 0.3                  # share of the colour inside a mask
SIDE = 420                  # pixels of the long side of a picture


def draw_truth(image: np.ndarray, boxes: np.ndarray, masks: Sequence[np.ndarray | None] | None,
               long_side: int = SIDE) -> np.ndarray:
    """The BGR image (H', W', 3), resized, with a tinted mask and a thin box for each instance.

    image (H, W, 3) uint8; boxes (G, 4); masks G arrays (h, w) bool over them, None without one.
    """
    factor = long_side / max(image.shape[:2])
    picture = cv2.resize(image, None, fx=factor, fy=factor)
    colors, far = instance_colors(len(boxes)).astype(float), np.array([0, 0, 1, 1])
    for box, mask, color in zip(boxes, masks or [None] * len(boxes), colors):
        edges = (np.asarray(box, float) + far) * factor - far
        x1, y1, x2, y2 = clipped_corners(edges, picture.shape[:2])
        if mask is not None:
            inside = cv2.resize(mask.astype(np.float32), (x2 - x1 + 1, y2 - y1 + 1)) >= .5
            window = picture[y1:y2 + 1, x1:x2 + 1]
            window[inside] = window[inside] * (1 - TINT) + color * TINT
        cv2.rectangle(picture, (x1, y1), (x2, y2), color.tolist(), 1)
    return picture
