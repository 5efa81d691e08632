"""Functions of single elements."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, TorchLayer, exactly
from caffe.layer_types.axes import canonical
from caffe.layer_types.gradients import with_gradient_of
from caffe.ops import Mode
from caffe.proto import caffe_pb2


class Neuron(TorchLayer):
    """One bottom, one top of the same shape; may run in place."""

    num_bottom = exactly(1)
    num_top = exactly(1)

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [shapes[0]]

    def tangent(self, x, y):
        """Of the bottom alone; in place the top lies there."""
        return None if self.blobs else self.compute(x)


@LAYERS.register("ReLU")
class ReLU(Neuron):
    """y = max(x, 0) + negative_slope * min(x, 0)"""

    keeps_low_precision = keeps_coordinates = True

    def setup(self, bottom, top):
        self.slope = self.param.relu_param.negative_slope
        self.moves_values = not self.slope

    @property
    def activation(self) -> str | None:     # type: ignore[override]
        """Without a slope, one that packed products do as they write."""
        return None if self.slope else "relu"

    def compute(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, self.slope) if self.slope else F.relu(x)

    def overwriting(self):
        return (lambda y: F.leaky_relu_(y, self.slope)) if self.slope else F.relu_


@LAYERS.register("ReLU6")
class ReLU6(Neuron):
    """y = min(max(x, 0) + negative_slope * min(x, 0), 6), without gradient from 6 on (MobileNet)"""

    keeps_low_precision = keeps_coordinates = True

    def setup(self, bottom, top):
        self.slope = self.param.relu6_param.negative_slope

    def compute(self, x: Tensor) -> Tensor:
        if not self.slope:
            return F.relu6(x)
        y = F.leaky_relu(x, self.slope)
        return torch.where(y < 6, y, 6)

    def overwriting(self):
        return None if self.slope else (lambda y: F.relu6(y, inplace=True))


@LAYERS.register("NegReLU")
class NegReLU(Neuron):
    """y = min(x, 0) + negative_slope * max(x, 0) (FlowNet2)"""

    keeps_coordinates = True

    def compute(self, x: Tensor) -> Tensor:
        return torch.where(x < 0, x, self.param.relu_param.negative_slope * x)


@LAYERS.register("PReLU")
class PReLU(Neuron):
    """y = max(x, 0) + a_c * min(x, 0), a: (C,), or () if channel_shared"""

    keeps_coordinates = True

    def setup(self, bottom, top):
        options = self.param.prelu_param
        if len(bottom[0].shape) < 2:
            raise LayerError(f"{self.title}: the bottom must have a channel axis (axis 1), "
                             f"got shape {bottom[0].shape}")
        quarter = caffe_pb2.FillerParameter(type="constant", value=0.25)
        self.add_blob(() if options.channel_shared else bottom[0].shape[1:2],
                      options.filler if options.HasField("filler") else quarter)

    def compute(self, x: Tensor, slope: Tensor) -> Tensor:
        return F.prelu(x, slope.reshape(-1))


@LAYERS.register("ELU")
class ELU(Neuron):
    """y = x if x > 0, else alpha * (exp(x) - 1)"""

    keeps_coordinates = True

    def compute(self, x: Tensor) -> Tensor:
        return F.elu(x, self.param.elu_param.alpha)

    def tangent(self, x, y):
        return x * torch.where(x > 0, 1, y + self.param.elu_param.alpha).detach()


@LAYERS.register("Sigmoid")
class Sigmoid(Neuron):
    """y = 1 / (1 + exp(-x))"""

    keeps_coordinates = True

    def compute(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x)

    def tangent(self, x, y):
        return x * (y * (1 - y))


@LAYERS.register("HardSigmoid")
class HardSigmoid(Neuron):
    """y = min(max(0.2 x + 0.5, 0), 1), dy/dx = 0.2 everywhere (MobileNet-YOLO)

    With hard_sigmoid_param { mode: EXACT } dy/dx is 0 where y is 0 or 1.
    """

    keeps_coordinates = True

    def compute(self, x: Tensor) -> Tensor:
        line = 0.2 * x + 0.5
        y = line.clamp(0, 1)
        exact = Mode(self.param.hard_sigmoid_param.mode) is Mode.EXACT
        return y if exact else with_gradient_of(y, line)


@LAYERS.register("TanH")
class TanH(Neuron):
    """y = tanh(x)"""

    keeps_coordinates = True

    def compute(self, x: Tensor) -> Tensor:
        return torch.tanh(x)

    def tangent(self, x, y):
        return x * (1 - y * y)


@LAYERS.register("Swish")
class Swish(Neuron):
    """y = x / (1 + exp(-beta * x))"""

    keeps_coordinates = True

    def compute(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.param.swish_param.beta * x)


@LAYERS.register("AbsVal")
class AbsVal(Neuron):
    """y = |x|; not in place, as in Caffe"""

    keeps_coordinates = True

    def setup(self, bottom, top):
        if top[0] is bottom[0]:
            raise LayerError(f"{self.title} cannot run in place; give its top another name")

    def compute(self, x: Tensor) -> Tensor:
        return x.abs()


@LAYERS.register("BNLL")
class BNLL(Neuron):
    """y = log(1 + exp(x)), dy/dx = 1 / (1 + exp(-x))

    In place, the derivative is taken at y instead: Caffe's backward finds y where x was.
    """

    keeps_coordinates = True

    def setup(self, bottom, top):
        self.in_place = top[0] is bottom[0]

    def compute(self, x: Tensor) -> Tensor:
        y = F.softplus(x, threshold=50)
        if not self.in_place:
            return y
        slope = torch.sigmoid(y).detach()
        return y.detach() + slope * (x - x.detach())


@LAYERS.register("Power")
class Power(Neuron):
    """y = (shift + scale * x) ^ power"""

    keeps_coordinates = True

    def compute(self, x: Tensor) -> Tensor:
        options = self.param.power_param
        if options.power == 0 or options.scale == 0:
            constant = torch.tensor(options.shift, dtype=x.dtype, device=x.device)
            never = torch.zeros_like(x, dtype=torch.bool)
            return torch.where(never, x, constant ** options.power)     # its gradient is 0
        base = options.shift + options.scale * x
        return base if options.power == 1 else base.pow(options.power)

    def tangent(self, x, y):
        """From both, but for the square and the constants."""
        options = self.param.power_param
        if options.power in (0, 1, 2) or options.scale == 0:
            return self.compute(x)
        base = (options.shift + options.scale * x).detach()
        return x * (options.power * options.scale * y / base)


@LAYERS.register("Exp")
class Exp(Neuron):
    """y = base ^ (shift + scale * x); base -1 (the default) is e"""

    keeps_coordinates = True

    def setup(self, bottom, top):
        options = self.param.exp_param
        self.log_base = _log_of_base(self, options.base)

    def compute(self, x: Tensor) -> Tensor:
        options = self.param.exp_param
        factor = math.exp(self.log_base * options.shift)
        return torch.exp(x * (self.log_base * options.scale)) * factor

    def tangent(self, x, y):
        return x * (y * (self.log_base * self.param.exp_param.scale))


@LAYERS.register("Log")
class Log(Neuron):
    """y = log_base(shift + scale * x); base -1 (the default) is e"""

    keeps_coordinates = True

    def setup(self, bottom, top):
        self.log_base = _log_of_base(self, self.param.log_param.base)
        if self.log_base == 0:
            raise LayerError(f"{self.title}: base 1 has no logarithm")

    def compute(self, x: Tensor) -> Tensor:
        options = self.param.log_param
        return torch.log(options.shift + options.scale * x) * (1 / self.log_base)


@LAYERS.register("Threshold")
class Threshold(Neuron):
    """y = 1 if x > threshold, else 0; no gradient"""

    keeps_coordinates = True

    no_gradient = (0,)

    def compute(self, x: Tensor) -> Tensor:
        return (x > self.param.threshold_param.threshold).to(x.dtype)


@LAYERS.register("Clip")
class Clip(Neuron):
    """y = min(max(x, min), max)"""

    keeps_coordinates = True

    def compute(self, x: Tensor) -> Tensor:
        return x.clamp(self.param.clip_param.min, self.param.clip_param.max)


@LAYERS.register("Softmax")
class Softmax(Neuron):
    """y = exp(x) / sum of exp(x) over `axis`"""

    def check(self, *shapes):
        canonical(self, self.param.softmax_param.axis, len(shapes[0]))

    def compute(self, x: Tensor) -> Tensor:
        return F.softmax(x, self.param.softmax_param.axis)

    def tangent(self, x, y):
        return y * (x - (y * x).sum(self.param.softmax_param.axis, keepdim=True))


def _log_of_base(layer: Neuron, base: float) -> float:
    if base != -1 and base <= 0:
        raise LayerError(f"{layer.title}: base must be positive, or -1 for e, got {base:g}")
    return 1.0 if base == -1 else math.log(base)
