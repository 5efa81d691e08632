"""Pictures of instances."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mnc.instances import Instances

BOX_EDGE = 150               # value of box edges in a class map
LONGEST = 4                  # short sides: no image is enlarged to a longer side
TINT = 0.45                  # share of the colour inside a mask
FONT = cv2.FONT_HERSHEY_SIMPLEX


def paint(boxes: np.ndarray, masks: np.ndarray, labels: np.ndarray, image_size: tuple[int, int],
          threshold: float = 0.4) -> tuple[np.ndarray, np.ndarray]:
    """(instance map, class map), (height, width) each; instances count from 1, later on top.

    boxes (N, 4 or more), masks (N, S, S). The class map shows the edges of the boxes as BOX_EDGE.
    """
    instance_map, class_map = np.zeros((2, *image_size), int)
    for n, (box, mask, label) in enumerate(zip(boxes, masks, labels), 1):
        x1, y1, x2, y2 = clipped_corners(box, image_size)
        inside = cv2.resize(mask.astype(np.float32), (x2 - x1 + 1, y2 - y1 + 1)) >= threshold
        window = np.s_[y1:y2 + 1, x1:x2 + 1]
        instance_map[window][inside] = n
        class_map[window][inside] = label
        for x in (x1, x2):
            class_map[y1:y2 + 1, x - 1:x + 1] = BOX_EDGE
        for y in (y1, y2):
            class_map[y - 1:y + 1, x1:x2 + 1] = BOX_EDGE
    return instance_map, class_map


def clipped_corners(box: np.ndarray, image_size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Whole-numbered corners inside the image (height, width), inclusive."""
    height, width = image_size
    x1, y1, x2, y2 = np.clip(np.round(box[:4]), 0, [width - 1, height - 1] * 2).astype(int).tolist()
    return x1, y1, x2, y2


def color_map(number: int = 256) -> np.ndarray:
    """(number, 3) uint8 R, G, B: PASCAL VOC's, the bits of the index dealt to the channels."""
    index = np.arange(number)
    bits = (index[:, None] >> np.arange(24)) & 1                                    # (number, 24)
    channels = [(bits[:, c::3][:, :8] << np.arange(7, -1, -1)).sum(1) for c in range(3)]
    return np.stack(channels, axis=1).astype(np.uint8)


def instance_colors(number: int) -> np.ndarray:
    """(number, 3) B, G, R: bright, neighbours far apart in hue."""
    hues = (np.arange(number) * 0.381966 * 180 + 60) % 180      # golden section of the circle
    hsv = np.stack((hues, np.full(number, 220), np.full(number, 255)), axis=1).astype(np.uint8)
    return cv2.cvtColor(hsv[None], cv2.COLOR_HSV2BGR)[0] if number else np.zeros((0, 3), np.uint8)


def draw_instances(image: np.ndarray, instances: Instances, classes: Sequence[str],
                   threshold: float = 0.4, short_side: int = 480) -> np.ndarray:
    """The BGR image (H, W, 3), enlarged if small, with each mask, contour, box, class and score."""
    short, long = sorted(image.shape[:2])
    zoom = max(1, min(round(short_side / short), LONGEST * short_side // long))
    picture = cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
    colors = instance_colors(len(instances)).tolist()
    order = range(len(instances) - 1, -1, -1)  # the best score is drawn last: on top
    for n in order:
        _draw_mask(picture, _zoomed(instances.boxes[n], zoom), instances.masks[n], colors[n],
                   threshold)
    for n in order:
        name = classes[instances.labels[n]]
        _draw_label(picture, _zoomed(instances.boxes[n], zoom),
                    f"{name} {instances.boxes[n, 4]:.2f}", colors[n])
    return picture


def _zoomed(box: np.ndarray, zoom: int) -> np.ndarray:
    return box[:4] * zoom + [0, 0, zoom - 1, zoom - 1]          # inclusive pixels


def _draw_mask(picture: np.ndarray, box: np.ndarray, mask: np.ndarray, color: list[int],
               threshold: float) -> None:
    inside, _ = paint(box[None], mask[None], np.array([1]), picture.shape[:2], threshold)
    inside = inside > 0
    picture[inside] = (picture[inside] * (1 - TINT) + np.array(color) * TINT).astype(np.uint8)
    contours, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_EXTERNAL,
                                   cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, color, 2)


def _draw_label(picture: np.ndarray, box: np.ndarray, text: str, color: list[int]) -> None:
    height, width = picture.shape[:2]
    x1, y1, x2, y2 = clipped_corners(box, (height, width))
    cv2.rectangle(picture, (x1, y1), (x2, y2), color, 1)
    (w, h), below = cv2.getTextSize(text, FONT, 0.45, 1)
    x = max(min(x1, width - w), 0)
    y = max(y1, h + below)  # baseline of the text: above the box, or at the top
    cv2.rectangle(picture, (x, y - h - below), (x + w, y), color, cv2.FILLED)
    cv2.putText(picture, text, (x, y - below // 2 - 1), FONT, 0.45, (0, 0, 0), 1, cv2.LINE_AA)


def write_image(path: Path, image: np.ndarray) -> None:
    """Write a picture (H, W, 3) uint8 BGR. Raises OSError where that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), image):
        raise OSError(f"{path}: the picture could not be written")
