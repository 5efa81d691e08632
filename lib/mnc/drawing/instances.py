"""Pictures of instances."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mnc.drawing.labels import draw_labels
from mnc.instances import Instances

BOX_EDGE = 150               # value of box edges in a class map
LONGEST = 4                  # short sides: no image is enlarged to a longer side
TINT = 0.45                  # share of the colour inside a mask
LINES = 480                  # a picture's short side has so many widths of a line


def paint(boxes: np.ndarray, masks: np.ndarray, labels: np.ndarray, image_size: tuple[int, int],
          threshold: float = 0.4) -> tuple[np.ndarray, np.ndarray]:
    """(instance map, class map), (height, width) each; instances count from 1, later on top.

    boxes (N, 4 or more), masks (N, S, S). The class map shows the edges of the boxes as BOX_EDGE.
    """
    instance_map, class_map = np.zeros((2, *image_size), int)
    for n, (box, mask, label) in enumerate(zip(boxes, masks, labels), 1):
        (x1, y1, x2, y2), inside = covered(box, mask, image_size, threshold)
        window = np.s_[y1:y2 + 1, x1:x2 + 1]
        instance_map[window][inside] = n
        class_map[window][inside] = label
        for x in (x1, x2):
            class_map[y1:y2 + 1, x - 1:x + 1] = BOX_EDGE
        for y in (y1, y2):
            class_map[y - 1:y + 1, x1:x2 + 1] = BOX_EDGE
    return instance_map, class_map


def covered(box: np.ndarray, mask: np.ndarray, image_size: tuple[int, int],
            threshold: float) -> tuple[tuple[int, int, int, int], np.ndarray]:
    """(x1 y1 x2 y2, (h, w) bool): the box clipped to the image, and which of its pixels are in.

    mask (S, S). Of the size of the box alone: images may be large, and instances many.
    """
    x1, y1, x2, y2 = corners = clipped_corners(box, image_size)
    return corners, cv2.resize(mask.astype(np.float32), (x2 - x1 + 1, y2 - y1 + 1)) >= threshold


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
                   threshold: float = 0.4, short_side: int = 480,
                   colors: np.ndarray | None = None) -> np.ndarray:
    """The BGR image (H, W, 3), enlarged if small, with each mask, contour, box, class and score.

    colors (N, 3) B, G, R: of the instances, by default `instance_colors`. Lines and letters grow
    with the picture. The better score lies on top, and its label has the first choice of a place
    (mnc.drawing.labels). A score that is no number is not written.
    """
    short, long = sorted(image.shape[:2])
    zoom = max(1, min(round(short_side / short), LONGEST * short_side // long))
    picture = cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
    paints = (instance_colors(len(instances)) if colors is None else colors).tolist()
    boxes = instances.boxes[:, :4] * zoom + [0, 0, zoom - 1, zoom - 1]      # inclusive pixels
    line = max(1, round(min(picture.shape[:2]) / LINES))
    for n in range(len(instances) - 1, -1, -1):
        if np.size(instances.masks[n]):     # boxes alone have none
            _draw_mask(picture, boxes[n], instances.masks[n], paints[n], (threshold, 2 * line))
    for n in range(len(instances) - 1, -1, -1):
        x1, y1, x2, y2 = clipped_corners(boxes[n], (picture.shape[0], picture.shape[1]))
        cv2.rectangle(picture, (x1, y1), (x2, y2), paints[n], line)
    texts = [classes[label] if np.isnan(score) else f"{classes[label]} {score:.2f}"
             for label, score in zip(instances.labels, instances.boxes[:, 4])]
    draw_labels(picture, boxes, texts, paints)
    return picture


def _draw_mask(picture: np.ndarray, box: np.ndarray, mask: np.ndarray, color: list[int],
               how: tuple[float, int]) -> None:
    """Tint the mask and draw its contour; how: (threshold, pixels of the contour)."""
    (x1, y1, x2, y2), inside = covered(box, mask, (picture.shape[0], picture.shape[1]), how[0])
    window = picture[y1:y2 + 1, x1:x2 + 1]
    paper = np.empty_like(window)
    paper[:] = color
    tinted = cv2.addWeighted(window, 1 - TINT, paper, TINT, 0)
    filled = inside.astype(np.uint8)
    window[...] = cv2.copyTo(tinted, filled, window)
    contours, _ = cv2.findContours(filled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE,
                                   offset=(x1, y1))
    cv2.drawContours(picture, contours, -1, color, how[1])


def write_image(path: Path, image: np.ndarray) -> None:
    """Write a picture (H, W, 3) uint8 BGR; JPEG of quality 92. Raises OSError where that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    quality = [cv2.IMWRITE_JPEG_QUALITY, 92] if path.suffix.lower() in (".jpg", ".jpeg") else []
    if not cv2.imwrite(str(path), image, quality):
        raise OSError(f"{path}: the picture could not be written")
