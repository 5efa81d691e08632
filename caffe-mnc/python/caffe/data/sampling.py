"""BatchSampler and ExpansionParameter: windows of an image, and images with more around them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from caffe.data.objects import areas, share, shared_areas

NO_EXPANSION = 0.01     # nearer to 1 a ratio changes nothing


def check_sampler(sampler: Any) -> None:
    """ValueError if the numbers of a Sampler are not those of windows inside an image."""
    if not 0 < sampler.min_scale <= sampler.max_scale <= 1:
        raise ValueError(f"batch_sampler: scales must be 0 < min_scale <= max_scale <= 1, got "
                         f"{sampler.min_scale:g} and {sampler.max_scale:g}")
    if not 0 < sampler.min_aspect_ratio <= sampler.max_aspect_ratio:
        raise ValueError(f"batch_sampler: aspect ratios must be 0 < min_aspect_ratio <= "
                         f"max_aspect_ratio, got {sampler.min_aspect_ratio:g} and "
                         f"{sampler.max_aspect_ratio:g}")


def draw_window(samplers: Sequence[Any], boxes: np.ndarray,
                random: np.random.Generator) -> np.ndarray | None:
    """A window (xmin, ymin, xmax, ymax) drawn by one of the BatchSamplers, in shares of the image

    Each sampler draws max_trials windows, or until max_sample of them meet its constraint on the
    objects' boxes (K, 4); one of all that do is chosen. None if none does.
    """
    found: list[np.ndarray] = []
    for options in samplers:
        if not options.use_original_image:
            continue
        most = options.max_sample if options.HasField("max_sample") else options.max_trials
        own: list[np.ndarray] = []
        for _ in range(options.max_trials):
            if len(own) >= most:
                break
            window = _draw(options.sampler, random)
            if _allows(options.sample_constraint, window, boxes):
                own.append(window)
        found += own
    return found[random.integers(len(found))] if found else None


def _draw(sampler: Any, random: np.random.Generator) -> np.ndarray:
    scale = random.uniform(sampler.min_scale, sampler.max_scale)
    ratio = random.uniform(sampler.min_aspect_ratio, sampler.max_aspect_ratio)
    root = np.sqrt(np.clip(ratio, scale ** 2, 1 / scale ** 2))
    size = np.array([scale * root, scale / root]).clip(max=1)
    low = random.random(2) * (1 - size)
    return np.concatenate((low, low + size)).astype(np.float32)


def _allows(constraint: Any, window: np.ndarray, boxes: np.ndarray) -> bool:
    """Whether an object meets the constraint; of several kinds SSD looks at the first alone."""
    both, own = shared_areas(boxes, window), areas(window[None])
    measures = {"jaccard_overlap": lambda: share(both, areas(boxes) + own - both),
                "sample_coverage": lambda: share(both, np.broadcast_to(own, both.shape)),
                "object_coverage": lambda: share(both, areas(boxes))}
    for kind, measure in measures.items():
        least, most = (constraint.HasField(f"{end}_{kind}") for end in ("min", "max"))
        if least or most:
            values = measure()
            low = getattr(constraint, f"min_{kind}") if least else -np.inf
            high = getattr(constraint, f"max_{kind}") if most else np.inf
            return bool(((values >= low) & (values <= high)).any())
    return True


def pixels_of(window: np.ndarray, image: np.ndarray) -> np.ndarray:
    """The part of an image (H, W, C) that a window shows; offset and size in whole pixels"""
    height, width = image.shape[:2]
    x, y, right, bottom = window * np.float32([width, height, width, height])
    wide, high = max(1, int(right - x)), max(1, int(bottom - y))
    left, top = min(int(x), width - wide), min(int(y), height - high)
    return image[top:top + high, left:left + wide]


def expand(image: np.ndarray, options: Any, fill: np.ndarray,
           random: np.random.Generator) -> tuple[np.ndarray, np.ndarray | None]:
    """The image (H, W, C) somewhere on a larger canvas, and the canvas as a window of the image

    With the probability `prob`, otherwise the image as it is and None; each side becomes up to
    max_expand_ratio times as long. fill (C,) is the colour around.
    """
    if random.random() > options.prob or abs(options.max_expand_ratio - 1) < NO_EXPANSION:
        return image, None
    ratio = random.uniform(1, options.max_expand_ratio)
    height, width = image.shape[:2]
    size = int(height * ratio), int(width * ratio)
    top, left = (int(random.uniform(0, m - n)) for m, n in zip(size, (height, width)))
    canvas = np.empty((*size, image.shape[2]), image.dtype)
    canvas[:] = np.rint(fill)
    canvas[top:top + height, left:left + width] = image
    window = np.float32([-left / width, -top / height,
                         (size[1] - left) / width, (size[0] - top) / height])
    return canvas, window
