"""Layers that only rearrange: Split, Reshape, Flatten, Concat, Slice, Crop, Tile, Silence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, Layer, TorchLayer, at_least, exactly
from caffe.layer_types.axes import canonical


@LAYERS.register("Split")
class Split(Layer):
    """Every top is the bottom (one memory); the bottom's gradient is the sum of the tops'"""

    num_bottom = exactly(1)
    num_top = at_least(1)
    replayable = True
    pure = dense = aliases_bottom = keeps_low_precision = keeps_coordinates = selects = True

    def setup(self, bottom, top):
        self.tops = len(top)

    def run(self, *bottoms, params=None, **fused):
        return bottoms * self.tops

    def reshape(self, bottom, top):
        for blob in top:
            blob.share_data(bottom[0])
            blob.reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        pass

    def backward(self, top, propagate_down, bottom):
        if not propagate_down[0]:
            return
        first, *others = [blob.diff_tensor for blob in top if blob.has_diff] or \
            [torch.zeros_like(bottom[0].tensor)]
        total = first + others[0] if others else first.clone()
        for gradient in others[1:]:
            total += gradient
        bottom[0].diff_tensor = total


class SharedReshape(Layer):
    """The bottom under another shape: one memory for values, one for gradients."""

    num_bottom = exactly(1)
    num_top = exactly(1)
    replayable = True
    pure = dense = aliases_bottom = keeps_low_precision = True

    def setup(self, bottom, top):
        if top[0] is bottom[0]:
            raise LayerError(f"{self.title} cannot run in place; give its top another name")

    def new_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        raise NotImplementedError

    def run(self, *bottoms, params=None, **fused):
        return (bottoms[0].reshape(self.new_shape(tuple(bottoms[0].shape))),)

    def reshape(self, bottom, top):
        shape = self.new_shape(bottom[0].shape)
        top[0].share_data(bottom[0])
        top[0].share_diff(bottom[0])
        top[0].reshape(*shape)

    def forward(self, bottom, top):
        pass

    def backward(self, top, propagate_down, bottom):
        pass


@LAYERS.register("Reshape")
class Reshape(SharedReshape):
    """reshape_param.shape replaces the axes from `axis` on, for `num_axes` (-1: to the end)

    dim 0 keeps the axis of that place, one dim -1 takes what is left.
    """

    def setup(self, bottom, top):
        super().setup(bottom, top)
        self.dims = tuple(self.param.reshape_param.shape.dim)
        if self.dims.count(-1) > 1 or min(self.dims, default=0) < -1:
            raise LayerError(f"{self.title}: shape {self.dims} may have one -1 and no other "
                             f"negative dim")

    def new_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        options, rank = self.param.reshape_param, len(shape)
        start = options.axis if options.axis >= 0 else rank + options.axis + 1
        end = rank if options.num_axes == -1 else start + options.num_axes
        if not 0 <= start <= end <= rank:
            raise LayerError(f"{self.title}: axis {options.axis} and num_axes {options.num_axes} "
                             f"do not fit a bottom of shape {shape}")
        middle = [self._kept(shape, start + i) if dim == 0 else dim
                  for i, dim in enumerate(self.dims)]
        if -1 in middle:
            known = math.prod([d for d in (*shape[:start], *middle, *shape[end:]) if d != -1])
            middle[middle.index(-1)] = math.prod(shape) // known if known else 0
        result = (*shape[:start], *middle, *shape[end:])
        if math.prod(result) != math.prod(shape):
            raise LayerError(f"{self.title}: cannot make {result} ({math.prod(result)} values) "
                             f"from a bottom of shape {shape} ({math.prod(shape)} values)")
        return result

    def _kept(self, shape: tuple[int, ...], axis: int) -> int:
        if axis >= len(shape):
            raise LayerError(f"{self.title}: dim 0 stands for axis {axis}, which a bottom of shape "
                             f"{shape} does not have")
        return shape[axis]


@LAYERS.register("Flatten")
class Flatten(SharedReshape):
    """The axes `axis` to `end_axis` become one"""

    def new_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        options = self.param.flatten_param
        start = canonical(self, options.axis, len(shape))
        end = canonical(self, options.end_axis, len(shape), option="end_axis") + 1
        if end <= start:
            raise LayerError(f"{self.title}: end_axis {options.end_axis} is before axis "
                             f"{options.axis} in a bottom of shape {shape}")
        return (*shape[:start], math.prod(shape[start:end]), *shape[end:])


@LAYERS.register("Concat")
class Concat(TorchLayer):
    """The bottoms one after the other along `axis`"""

    num_bottom = at_least(1)
    num_top = exactly(1)
    keeps_low_precision = True

    def setup(self, bottom, top):
        options = self.param.concat_param
        axis = options.concat_dim if options.HasField("concat_dim") else options.axis
        self.axis = canonical(self, axis, len(bottom[0].shape))

    def check(self, *shapes):
        others = {s[:self.axis] + s[self.axis + 1:] for s in shapes}
        if len(others) > 1 or len({len(s) for s in shapes}) > 1:
            raise LayerError(f"{self.title}: bottoms may differ on axis {self.axis} only, got "
                             f"{', '.join(map(str, shapes))}")

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Not by running it: torch would import its compiler for that."""
        first, size = shapes[0], sum(shape[self.axis] for shape in shapes)
        return [(*first[:self.axis], size, *first[self.axis + 1:])]

    def compute(self, *bottoms: Tensor) -> Tensor:
        return torch.cat(bottoms, self.axis)


@LAYERS.register("Slice")
class Slice(TorchLayer):
    """The bottom cut along `axis` at slice_point, or into equal parts"""

    num_bottom = exactly(1)
    num_top = at_least(1)

    def setup(self, bottom, top):
        options = self.param.slice_param
        axis = options.slice_dim if options.HasField("slice_dim") else options.axis
        self.axis, self.tops = canonical(self, axis, len(bottom[0].shape)), len(top)
        self.points = tuple(options.slice_point)
        if self.points and len(self.points) != self.tops - 1:
            raise LayerError(f"{self.title}: {self.tops} tops need {self.tops - 1} slice_point, "
                             f"got {len(self.points)}")

    def check(self, *shapes):
        size = shapes[0][self.axis]
        if not self.points and size % self.tops:
            raise LayerError(f"{self.title}: axis {self.axis} of size {size} cannot be cut into "
                             f"{self.tops} equal parts; give slice_point")
        if self.points and min(self._sizes(size)) < 1:
            raise LayerError(f"{self.title}: slice_point {self.points} must rise and stay inside "
                             f"axis {self.axis} of size {size}")

    def compute(self, x: Tensor) -> tuple[Tensor, ...]:
        return x.split(self._sizes(x.shape[self.axis]), self.axis)

    def _sizes(self, size: int) -> list[int]:
        if not self.points:
            return [size // self.tops] * self.tops
        return [b - a for a, b in zip((0, *self.points), (*self.points, size))]


@LAYERS.register("Crop")
class Crop(TorchLayer):
    """bottom 0 cut to the size of bottom 1 on every axis from `axis` on, beginning at `offset`"""

    num_bottom = exactly(2)
    num_top = exactly(1)
    sized_like = (1,)

    @classmethod
    def coordinate_map(cls, options):
        axis, offset = crop_options(options)
        return axis - 1, 1, -offset         # axis counts from the last one that is not spatial

    def setup(self, bottom, top):
        options, rank = self.param.crop_param, len(bottom[0].shape)
        self.axis = canonical(self, options.axis, rank)
        given = list(options.offset) or [0]
        if len(given) not in (1, rank - self.axis):
            raise LayerError(f"{self.title}: {len(given)} offsets for the {rank - self.axis} axes "
                             f"from axis {self.axis} on; give one, or one an axis")
        self.offsets = given * (rank - self.axis) if len(given) == 1 else given

    def check(self, *shapes):
        x, size = shapes
        fits = len(x) == len(size) and all(
            offset + size[i] <= x[i] for i, offset in enumerate(self.offsets, self.axis))
        if not fits:
            raise LayerError(f"{self.title}: cannot cut {size} out of {x} from axis {self.axis} on "
                             f"at offset {tuple(self.offsets)}")

    def compute(self, x: Tensor, like: Tensor) -> Tensor:
        for axis, offset in enumerate(self.offsets, self.axis):
            x = x.narrow(axis, offset, like.shape[axis])
        return x


def crop_options(options: dict[str, Any]) -> tuple[int, np.ndarray]:
    """(axis, offset) from the options of a Crop as NetSpec has them."""
    options = options.get("crop_param") or options
    return options.get("axis", 2), np.array(options.get("offset", 0), ndmin=1)


@LAYERS.register("Tile")
class Tile(TorchLayer):
    """`tiles` copies of the bottom along `axis`"""

    num_bottom = exactly(1)
    num_top = exactly(1)

    def setup(self, bottom, top):
        options = self.param.tile_param
        self.axis, self.tiles = canonical(self, options.axis, len(bottom[0].shape)), options.tiles
        if self.tiles < 1:
            raise LayerError(f"{self.title}: tiles must be at least 1, got {self.tiles}")

    def compute(self, x: Tensor) -> Tensor:
        return x.repeat([self.tiles if axis == self.axis else 1 for axis in range(x.ndim)])


@LAYERS.register("Silence")
class Silence(Layer):
    """Consumes bottoms, so that they are no outputs of the net; their gradient is 0"""

    num_bottom = at_least(1)
    num_top = exactly(0)
    replayable = discards = True

    def forward(self, bottom, top):
        pass

    def backward(self, top, propagate_down, bottom):
        for blob, wanted in zip(bottom, propagate_down):
            if wanted:
                blob.diff_tensor.zero_()
