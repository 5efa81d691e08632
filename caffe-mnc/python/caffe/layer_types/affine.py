"""Scale and Bias: products and sums with a smaller blob, learned or given."""

from __future__ import annotations

import torch
from torch import Tensor

from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, TorchLayer, between, exactly
from caffe.layer_types.axes import canonical
from caffe.proto import caffe_pb2


class BroadcastLayer(TorchLayer):
    """A factor or term whose shape is that of the bottom from `axis` on, for `num_axes` axes.

    It is bottom 1 if there is one, else a parameter.
    """

    num_bottom = between(1, 2)
    num_top = exactly(1)
    owns_output = keeps_coordinates = True

    def place(self, options, bottom) -> tuple[int, ...]:
        """Set self.axis; return the shape of the smaller blob."""
        rank = len(bottom[0].shape)
        count = len(bottom[1].shape) if len(bottom) == 2 else options.num_axes
        if count == 0:
            self.axis = 0
            return ()
        self.axis = canonical(self, options.axis, rank)
        end = rank if count == -1 else self.axis + count
        if end > rank or count < -1:
            raise LayerError(f"{self.title}: {count} axes from axis {self.axis} on do not exist in "
                             f"a bottom of shape {bottom[0].shape}")
        return bottom[0].shape[self.axis:end]

    def check(self, *shapes):
        small = shapes[1] if len(shapes) == 2 else self.blobs[0].shape
        if shapes[0][self.axis:self.axis + len(small)] != small:
            raise LayerError(f"{self.title}: the bottom of shape {shapes[0]} does not have "
                             f"{small} at axis {self.axis}")

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [shapes[0]]

    def broadcast(self, small: Tensor, x: Tensor) -> Tensor:
        """The smaller blob with axes of size 1 behind, to fit x."""
        return small.reshape(*small.shape, *[1] * (x.dim() - self.axis - small.dim()))


@LAYERS.register("Scale")
class Scale(BroadcastLayer):
    """y = x * s + b; s is bottom 1 or a parameter (1 by default), b a parameter if bias_term

    bottom: x, [s]; s (and b) have x's shape from `axis` on, for `num_axes` axes (-1: to the end,
    0: a scalar)
    """

    @classmethod
    def parameter_count(cls, param):
        return 1 + param.scale_param.bias_term

    def setup(self, bottom, top):
        options = self.param.scale_param
        shape = self.place(options, bottom)
        if len(bottom) == 1:
            one = caffe_pb2.FillerParameter(type="constant", value=1)
            self.add_blob(shape, options.filler if options.HasField("filler") else one)
        if options.bias_term:
            self.add_blob(shape, options.bias_filler)

    def compute(self, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
        if bias is None:
            return x * self.broadcast(scale, x)
        return torch.addcmul(self.broadcast(bias, x), x, self.broadcast(scale, x))

    def as_affine(self):
        own_scale = len(self.blobs) == 1 + self.param.scale_param.bias_term
        if not own_scale or self.axis != 1 or len(self.blobs[0].shape) != 1:
            return None
        scale, *bias = (blob.tensor for blob in self.blobs)
        return scale, bias[0] if bias else torch.zeros_like(scale)


@LAYERS.register("Bias")
class Bias(BroadcastLayer):
    """y = x + b; b is bottom 1 or a parameter (0 by default), placed as in Scale"""

    def setup(self, bottom, top):
        shape = self.place(self.param.bias_param, bottom)
        if len(bottom) == 1:
            self.add_blob(shape, self.param.bias_param.filler)

    def compute(self, x: Tensor, bias: Tensor) -> Tensor:
        return x + self.broadcast(bias, x)
