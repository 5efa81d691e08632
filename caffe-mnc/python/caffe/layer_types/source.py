"""Tops without bottoms: Input and Parameter."""

from __future__ import annotations

from torch import Tensor

from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, Layer, TorchLayer, at_least, exactly


@LAYERS.register("Input")
class Input(Layer):
    """Blobs the user fills. input_param.shape: none, one for all tops, or one a top"""

    num_bottom = exactly(0)
    num_top = at_least(1)

    def setup(self, bottom, top):
        shapes = [tuple(s.dim) for s in self.param.input_param.shape]
        if len(shapes) not in (0, 1, len(top)):
            raise LayerError(f"{self.title}: {len(top)} tops, but {len(shapes)} shapes; give none, "
                             f"one, or one a top")
        for i, blob in enumerate(top if shapes else ()):
            blob.reshape(*shapes[i if len(shapes) > 1 else 0])

    def forward(self, bottom, top):
        pass

    def backward(self, top, propagate_down, bottom):
        pass


@LAYERS.register("Parameter")
class Parameter(TorchLayer):
    """A learned blob of parameter_param.shape as a top"""

    num_bottom = exactly(0)
    num_top = exactly(1)

    def setup(self, bottom, top):
        self.add_blob(tuple(self.param.parameter_param.shape.dim))

    def compute(self, value: Tensor) -> Tensor:
        return value
