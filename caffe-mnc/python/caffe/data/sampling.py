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

    Each sampler draws max_trials windows; the first max_sample of them that meet its constraint on
    the objects' boxes (K, 4) are kept, and one of all that are kept is chosen. None if none is.
    """
    found = [np.zeros((0, 4), np.float32)]
    for options in samplers:
        if options.use_original_image:
            windows = _draw(options.sampler, options.max_trials, random)
            most = options.max_sample if options.HasField("max_sample") else len(windows)
            found.append(windows[_allowed(options.sample_constraint, windows, boxes)][:most])
    kept = np.concatenate(found)
    return kept[random.integers(len(kept))] if len(kept) else None


def _draw(sampler: Any, count: int, random: np.random.Generator) -> np.ndarray:
    """(count, 4)"""
    scale = random.uniform(sampler.min_scale, sampler.max_scale, count)
    ratio = random.uniform(sampler.min_aspect_ratio, sampler.max_aspect_ratio, count)
    root = np.sqrt(np.clip(ratio, scale ** 2, 1 / scale ** 2))
    size = np.stack((scale * root, scale / root), 1).clip(max=1)
    low = random.random((count, 2)) * (1 - size)
    return np.concatenate((low, low + size), 1).astype(np.float32)


def _allowed(constraint: Any, windows: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(T,) whether some object meets the constraint; of several kinds SSD asks the first alone"""
    both = shared_areas(boxes, windows[:, None])            # (T, K)
    own, objects = np.broadcast_arrays(areas(windows)[:, None], areas(boxes))
    wholes = {"jaccard_overlap": own + objects - both, "sample_coverage": own,
              "object_coverage": objects}
    for kind, whole in wholes.items():
        least, most = (constraint.HasField(f"{end}_{kind}") for end in ("min", "max"))
        if least or most:
            values = share(both, whole)
            low = getattr(constraint, f"min_{kind}") if least else -np.inf
            high = getattr(constraint, f"max_{kind}") if most else np.inf
            return np.any((values >= low) & (values <= high), axis=1)
    return np.ones(len(windows), bool)


def pixels_of(window: np.ndarray, image: np.ndarray) -> np.ndarray:
    """The part of an image (H, W, C) that a window shows; offset and size in whole pixels"""
    height, width = image.shape[:2]
    x, y, right, bottom = window * np.array([width, height, width, height], np.float32)
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
    window = np.array([-left / width, -top / height,
                       (size[1] - left) / width, (size[0] - top) / height], np.float32)
    return canvas, window
