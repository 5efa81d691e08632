"""RoI pooling and warping, mask resizing and pooling; the arithmetic is in caffe.ops."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from caffe import ops
from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, Tensors, TorchLayer, at_least, exactly
from caffe.layer_types.axes import expect_rank
from caffe.layer_types.pooling import Pooling


class RegionLayer(TorchLayer):
    """bottom: features (N, C, H, W), rois (R, 5) as (n, x1, y1, x2, y2) in image pixels

    top: (R, C, pooled_h, pooled_w); spatial_scale turns image pixels into map pixels
    """

    num_bottom = exactly(2)
    num_top = exactly(1)
    dense = False

    def take(self, options) -> None:
        self.size = (options.pooled_h, options.pooled_w)
        self.spatial_scale = options.spatial_scale
        if min(self.size) < 1:
            raise LayerError(f"{self.title}: pooled_h and pooled_w must be at least 1, got "
                             f"{self.size}")

    def check(self, *shapes):
        expect_rank(self, shapes[0], 4, "bottom 0 (features)")
        self.check_rois(shapes[1], 1)

    def check_rois(self, rois: tuple[int, ...], bottom: int) -> None:
        if len(rois) < 1 or _row_size(rois) != 5:
            raise LayerError(f"{self.title}: bottom {bottom} (rois) must be (R, 5), got {rois}")

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [(shapes[1][0], shapes[0][1], *self.size)]

    def likely(self, index, shapes, random):
        if index != 1 or self.spatial_scale <= 0:
            return None
        (images, _, height, width), count = shapes[0], shapes[1][0]
        last = np.array([width, height]) / self.spatial_scale - 1
        corners = np.sort(random.uniform(size=(count, 2, 2)), 1).reshape(count, 4) * [*last, *last]
        rois = np.column_stack((random.integers(max(images, 1), size=count), corners))
        return rois.reshape(shapes[1])


def _row_size(shape: tuple[int, ...]) -> int:
    """Values a RoI: legacy nets have rois of shape (R, 5, 1, 1)."""
    size = 1
    for n in shape[1:]:
        size *= n
    return size


@LAYERS.register("ROIPooling")
class ROIPooling(RegionLayer):
    """The maximum over each bin of a RoI with rounded corners; 0 for an empty bin

    Differentiable in the features only.
    """

    reads_bottoms_again = False         # but the places of maxima
    takes_low_precision = True

    def setup(self, bottom, top):
        self.take(self.param.roi_pooling_param)

    def compute(self, features: Tensor, rois: Tensor) -> Tensor:
        rois = rois.reshape(-1, 5).to(ops.floats_for(features))
        return ops.roi_pooling(features, rois, *self.size, self.spatial_scale)


@LAYERS.register("ROIWarping")
class ROIWarping(RegionLayer):
    """top[r, c, i, j] = bilinear(features[n_r, c], y, x),  y = y1 + i * (y2 - y1) / pooled_h

    x likewise; 0 where the sample falls outside the map. Differentiable in the rois too. mode:
    REFERENCE (rounded corners and the gradients of the MNC code) or EXACT (the paper's equations);
    see caffe.ops. Of several maps before the rois, a feature pyramid, each has half the scale of
    the one before, and a RoI is taken from the finest on which it covers no more cells than
    pooled_h * pooled_w.
    """

    num_bottom = at_least(2)
    takes_low_precision = True

    def setup(self, bottom, top):
        self.take(self.param.roi_warping_param)
        self.mode = ops.Mode(self.param.roi_warping_param.mode)

    def check(self, *shapes):
        *maps, rois = shapes
        for i, shape in enumerate(maps):
            expect_rank(self, shape, 4, f"bottom {i} (features)")
            if shape[:2] != maps[0][:2]:
                raise LayerError(f"{self.title}: all maps must hold the same images and channels, "
                                 f"got {maps[0]} and {shape}")
        self.check_rois(rois, len(maps))

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return super().output_shapes(shapes[0], shapes[-1])

    def fuse_with(self, following):
        """With a 2 x 2 maximum: the warped map, four times as large, is never written."""
        if not (isinstance(following, Pooling) and following.halves) or any(
                n % 2 for n in self.size):
            return None
        height, width = (n // 2 for n in self.size)
        return lambda *bottoms: (self._sampled(ops.roi_warping_pooled, (height, width), *bottoms),)

    def compute(self, *bottoms: Tensor) -> Tensor:
        return self._sampled(ops.roi_warping, self.size, *bottoms)

    def _sampled(self, warp: Callable[..., Tensor], size: tuple[int, int],
                 *bottoms: Tensor) -> Tensor:
        *maps, rois = bottoms
        if len({features.dtype for features in maps}) > 1:
            maps = [features.to(self.dtype) for features in maps]
        return ops.across_levels(
            lambda features, rows, scale: warp(features, rows, *size, scale, self.mode),
            maps, rois.reshape(-1, 5).to(ops.floats_for(maps[0])), self.size, self.spatial_scale)


@LAYERS.register("MaskResize")
class MaskResize(TorchLayer):
    """(N, C, h, w) -> (N, C, output_height, output_width), bilinear, corner aligned at 0

    mode: REFERENCE (the gradient of the MNC code) or EXACT (the adjoint).
    """

    num_bottom = exactly(1)
    num_top = exactly(1)
    dense = False

    def setup(self, bottom, top):
        options = self.param.mask_resize_param
        self.size = options.output_height, options.output_width
        self.mode = ops.Mode(options.mode)
        if min(self.size) < 1:
            raise LayerError(f"{self.title}: output_height and output_width must be at least 1, "
                             f"got {self.size}")

    def check(self, *shapes):
        expect_rank(self, shapes[0], 4, "the bottom")

    def compute(self, x: Tensor) -> Tensor:
        return ops.mask_resize(x, *self.size, self.mode)


@LAYERS.register("MaskPooling")
class MaskPooling(TorchLayer):
    """top[n, c, h, w] = features[n, c, h, w] * mask[n, 0, h, w]

    bottom: features (N, C, H, W), mask (N, 1, H, W)
    """

    num_bottom = exactly(2)
    num_top = exactly(1)
    dense = False
    takes_low_precision = True

    def check(self, *shapes):
        features, mask = shapes
        expect_rank(self, features, 4, "bottom 0 (features)")
        if mask != (features[0], 1, *features[2:]):
            raise LayerError(f"{self.title}: bottom 1 (mask) must be "
                             f"{(features[0], 1, *features[2:])}, got {mask}")

    def fuse_with(self, following):
        """With a 2 x 2 maximum: the product, four times as large, is never written."""
        if not (isinstance(following, Pooling) and following.halves):
            return None

        def pooled(features: Tensor, mask: Tensor) -> Tensors:
            if any(n % 2 for n in features.shape[2:]):
                return following.run(*self.run(features, mask))
            return (ops.mask_pooling_pooled(features, mask.to(ops.floats_for(features))),)
        return pooled

    def compute(self, features: Tensor, mask: Tensor) -> Tensor:
        return ops.mask_pooling(features, mask.to(ops.floats_for(features)))
