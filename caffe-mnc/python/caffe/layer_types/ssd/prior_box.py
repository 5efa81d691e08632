"""PriorBox: the boxes that predictions refer to."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, TorchLayer, between, exactly

SAME_RATIO = 1e-6


@LAYERS.register("PriorBox")
class PriorBox(TorchLayer):
    """(1, 2, 4P): P boxes in shares of the image, and their variances; from the sizes alone

    bottom: feature map (N, C, H, W), [image (N, C', H', W')]. For each cell, row by row, for each
    min_size m: a square of side m; of side sqrt(m max_size) if there are max sizes; and for each
    aspect ratio r but 1, width m sqrt(r), height m / sqrt(r). As in SSD sizes are cut to whole
    pixels. Centres lie at (i + offset) step; step is image / map, if not given.
    """

    num_bottom = between(1, 2)
    num_top = exactly(1)

    def setup(self, bottom, top):
        options = self.param.prior_box_param
        self._check_sizes(options)
        self.variance = list(options.variance) or [float(np.float32(0.1))]
        if len(self.variance) not in (1, 4) or min(self.variance) <= 0:
            raise LayerError(f"{self.title}: variance takes none, 1 or 4 numbers above 0, got "
                             f"{self.variance}")
        self.ratios = _ratios(options.aspect_ratio, options.flip)
        self.image = self._pair(options, "img_size", "img_h", "img_w")
        self.step = self._pair(options, "step", "step_h", "step_w")
        if len(bottom) == 1 and not self.image:
            raise LayerError(f"{self.title}: needs the image as bottom 1, or img_size")
        self._made: tuple[tuple, np.ndarray] | None = None

    def _check_sizes(self, options) -> None:
        least, most = list(options.min_size), list(options.max_size)
        if not least or min(least) <= 0:
            raise LayerError(f"{self.title}: min_size must be given, above 0; got {least}")
        if most and (len(most) != len(least) or any(b <= a for a, b in zip(least, most))):
            raise LayerError(f"{self.title}: max_size must be one for each min_size, and larger; "
                             f"got min_size {least}, max_size {most}")

    def _pair(self, options, both: str, high: str, wide: str) -> tuple[float, float] | None:
        """(height, width) from one option or two; None if none is given."""
        given = [options.HasField(name) for name in (both, high, wide)]
        if given[1] != given[2] or (given[0] and given[1]):
            raise LayerError(f"{self.title}: give {both}, or both {high} and {wide}")
        if not any(given):
            return None
        pair = (getattr(options, both),) * 2 if given[0] \
            else (getattr(options, high), getattr(options, wide))
        if min(pair) <= 0:
            raise LayerError(f"{self.title}: {both}, {high} and {wide} must be above 0, got {pair}")
        return pair

    def check(self, *shapes):
        if any(len(shape) != 4 for shape in shapes):
            raise LayerError(f"{self.title}: bottoms must be (N, C, H, W), got "
                             f"{', '.join(map(str, shapes))}")

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        options = self.param.prior_box_param
        each = len(self.ratios) * len(options.min_size) + len(options.max_size)
        return [(1, 2, shapes[0][2] * shapes[0][3] * each * 4)]

    def compute(self, *bottoms: Tensor) -> Tensor:
        grid: Any = tuple(bottoms[0].shape[2:])
        image: Any = self.image or tuple(bottoms[1].shape[2:])
        if self._made is None or self._made[0] != (grid, image):
            boxes = self._boxes(grid, image)
            variances = np.broadcast_to(np.array(self.variance, np.float32), boxes.shape)
            self._made = (grid, image), np.stack((boxes, variances)).reshape(1, 2, -1)
        return torch.tensor(self._made[1], dtype=self.dtype, device=self.device)

    def _boxes(self, grid: tuple[int, int], image: tuple[float, float]) -> np.ndarray:
        """(P, 4) float32"""
        options, single = self.param.prior_box_param, np.float32
        step: Any = self.step or tuple(single(n) / single(m) for n, m in zip(image, grid))
        y, x = ((np.arange(n, dtype=single) + single(options.offset)) * np.array(s, single)
                for n, s in zip(grid, step))
        centre = np.stack(np.broadcast_arrays(x[None, :, None], y[:, None, None]), -1)
        half = np.array(self._sides(options), single).astype(np.float64) / 2    # (each, 2)
        corners = np.concatenate((centre - half, centre + half), -1)    # (H, W, each, 4)
        boxes = (corners / np.array([*image[::-1]] * 2, np.float64)).astype(single).reshape(-1, 4)
        return boxes.clip(0, 1) if options.clip else boxes

    def _sides(self, options) -> list[tuple[float, float]]:
        """(width, height) of each box of a cell, in pixels"""
        sides: list[tuple[float, float]] = []
        for i, least in enumerate(int(size) for size in options.min_size):
            sides.append((least, least))
            if options.max_size:
                sides.append((math.sqrt(least * int(options.max_size[i])),) * 2)
            for ratio in self.ratios[1:]:
                root = np.sqrt(np.float32(ratio))
                sides.append((least * root, least / root))
        return sides


@LAYERS.register("PriorBoxClustered")
class PriorBoxClustered(PriorBox):
    """(1, 2, 4P): as PriorBox, but a cell has one box for each `width` and `height` (OpenVINO)"""

    def _check_sizes(self, options) -> None:
        if not options.width or len(options.width) != len(options.height):
            raise LayerError(f"{self.title}: needs as many height as width, at least one; got "
                             f"{len(options.height)} and {len(options.width)}")

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [(1, 2, shapes[0][2] * shapes[0][3] * len(self.param.prior_box_param.width) * 4)]

    def _sides(self, options) -> list[tuple[float, float]]:
        return list(zip(options.width, options.height))


def _ratios(given, flip: bool) -> list[float]:
    """1, then each given ratio that is not there yet, with flip followed by its inverse."""
    ratios = [1.0]
    for ratio in given:
        if all(abs(ratio - known) >= SAME_RATIO for known in ratios):
            ratios += [ratio, 1 / ratio] if flip else [ratio]
    return ratios
