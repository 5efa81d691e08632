"""Convolution and its transpose over up to three spatial axes; Im2col, the windows themselves."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from caffe.engine.description import Drawing
from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, TorchLayer, at_least, exactly
from caffe.layer_types.axes import canonical
from caffe.layer_types.packed import convolve, pack_filter, small_convolution
from caffe.layer_types.window import Window, places_in_windows, window_options
from caffe.ops.int8 import Int8, round_filter

CHANNELS_LAST = True        # off: planes stay as they come, as in Caffe (to compare)
CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
PIECE = 8                   # places a side of what calibration keeps of a map
CONVOLVE_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


class BaseConvolution(TorchLayer):
    """What both share: options, parameters, axes. Every bottom has a top and the same weights.

    Axes before `axis` count as images, `axis` is the channels, the rest is spatial.
    """

    num_bottom = at_least(1)
    num_top = at_least(1)
    per_bottom = True
    owns_output = is_product = True

    def setup(self, bottom, top):
        options, shape = self.param.convolution_param, bottom[0].shape
        self.axis = canonical(self, options.axis, len(shape))
        self.spatial = len(shape) - self.axis - 1
        if not 1 <= self.spatial <= 3:
            raise LayerError(f"{self.title}: 1 to 3 spatial axes after axis {self.axis} are "
                             f"possible, the bottom has shape {shape}")
        self.window = Window.from_param(self, options, self.spatial)
        self.channels = shape[self.axis]
        self.outputs, self.group = self.outputs_and_group(options)
        self.packs_like = (self.window, self.group, self.spatial)
        if self.outputs < 1:
            raise LayerError(f"{self.title}: num_output is missing or 0")
        for what, count in (("bottom has", self.channels), ("num_output has", self.outputs)):
            if not self.group or count % self.group:
                raise LayerError(f"{self.title}: {what} {count} channels, which is not a multiple "
                                 f"of group {self.group}")
        self.add_blob(self.weight_shape(), options.weight_filler)
        if CHANNELS_LAST and self.spatial == 2 and self.window.kernel != (1, 1):
            self.blobs[0].order_channels_last()     # else each forward would turn it
        if options.bias_term:
            self.add_blob((self.outputs,), options.bias_filler)

    def outputs_and_group(self, options) -> tuple[int, int]:
        return options.num_output, options.group

    @classmethod
    def parameter_count(cls, param):
        return 1 + param.convolution_param.bias_term

    @classmethod
    def drawing(cls, param):
        options = param.convolution_param
        window = [[*values, default][0] for values, default in (
            (options.kernel_size, 1), (options.stride, 1), (options.pad, 0))]
        return Drawing("#FF5050", window=tuple(window), flows=str(options.num_output),
                       weight_and_bias=True)

    def weight_shape(self) -> tuple[int, ...]:
        raise NotImplementedError

    def multiply_adds(self, bottoms, tops):
        """Each value of a top is a sum over the filter of its channel."""
        return sum(map(math.prod, tops)) * (self.blobs[0].count // self.outputs)

    def check(self, *shapes):
        for shape in shapes:
            if len(shape) != self.axis + 1 + self.spatial or shape[self.axis] != self.channels:
                raise LayerError(f"{self.title}: was built for {self.channels} channels on axis "
                                 f"{self.axis} and {self.spatial} spatial axes, got shape {shape}")
            if shape[:self.axis] != shapes[0][:self.axis]:
                raise LayerError(f"{self.title}: bottoms must hold the same number of images, "
                                 f"got shapes {', '.join(map(str, shapes))}")

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Not by running it: torch would import a system for algebra for that."""
        return [(*shape[:self.axis], self.outputs, *self._output_size(shape)) for shape in shapes]

    def _output_size(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        found = self.output_size(shape[self.axis + 1:])
        if min(found) < 1:
            raise LayerError(f"{self.title}: kernel {self.window.kernel} with dilation "
                             f"{self.window.dilation} and padding {self.window.pad} does not fit a "
                             f"bottom of shape {shape}")
        return found

    def output_size(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """The spatial axes of the top, from those of the bottom."""
        raise NotImplementedError

    def as_images(self, x: Tensor) -> Tensor:
        """(N, C, *size); planes channels-last, for which the kernels on large maps are faster."""
        x = x if self.axis == 1 else x.reshape(-1, *x.shape[self.axis:])
        last = CHANNELS_LAST and self.spatial == 2
        return x.contiguous(memory_format=torch.channels_last) if last else x

    def like_bottom(self, y: Tensor, x: Tensor) -> Tensor:
        return y if self.axis == 1 else y.reshape(*x.shape[:self.axis], *y.shape[1:])


@LAYERS.register("Convolution")
class Convolution(BaseConvolution):
    """y = W * x + b (cross-correlation); W (num_output, C / group, *kernel), b (num_output,)

    output size: floor((size + 2 pad - dilation (kernel - 1) - 1) / stride) + 1
    """

    @classmethod
    def coordinate_map(cls, options):
        return places_in_windows(cls.__name__, options)

    def weight_shape(self) -> tuple[int, ...]:
        return (self.outputs, self.channels // self.group, *self.window.kernel)

    def output_size(self, size: tuple[int, ...]) -> tuple[int, ...]:
        return self.window.places(size)

    def compute(self, x: Tensor, weight: Tensor, bias: Tensor | None = None,
                activation: str = "none", int8: Int8 | None = None) -> Tensor:
        w = self.window
        if int8:
            y = int8.convolve(self.as_images(x), (weight, bias), w.lattice, self.group, activation)
        elif weight.is_mkldnn:
            y = convolve(self.as_images(x), weight, bias, w, self.group, activation)
        else:
            y = CONVOLVE[self.spatial](self.as_images(x), weight, bias, w.stride, w.pad,
                                       w.dilation, self.group)
        return self.like_bottom(y, x)

    def pack(self, params):
        if self.spatial != 2 or (self.seen_shapes and small_convolution(
                params[0], self.seen_shapes[0][-4:], self.window, self.group)):
            return params
        return [pack_filter(params[0], self.window, self.group), *params[1:]]

    def round_weight(self, weight):
        return round_filter(weight, self.window.lattice, self.group) \
            if self.spatial == 2 and self.axis == 1 else None

    def piece(self, x, random):
        """A part of one of the images, of PIECE places a side, or as large as a window."""
        piece = x.narrow(0, int(random.integers(len(x))), 1)
        for axis, kernel, dilation in zip((2, 3), self.window.kernel, self.window.dilation):
            side = min(max(PIECE, dilation * (kernel - 1) + 1), piece.shape[axis])
            first = int(random.integers(piece.shape[axis] - side + 1))
            piece = piece.narrow(axis, first, side)
        return piece

    def fold_affine(self, params, factor, shift):
        """factor * (W x + b) + shift is a convolution with another W and b."""
        if self.axis != 1:
            return None
        weight, bias = params[0], params[1] if len(params) > 1 else torch.zeros_like(factor)
        columns = factor.reshape(-1, *[1] * (weight.dim() - 1))
        return [weight * columns, bias * factor + shift]


@LAYERS.register("DepthwiseConvolution")
class DepthwiseConvolution(Convolution):
    """Convolution as written: `group` says that each channel has its own filter (MobileNet)"""


@LAYERS.register("ConvolutionDepthwise")
class ConvolutionDepthwise(Convolution):
    """Convolution of each channel with its own filter: W (C, 1, *kernel), b (C,) (MobileNet)

    num_output and group are not read.
    """

    def outputs_and_group(self, options) -> tuple[int, int]:
        return self.channels, self.channels


@LAYERS.register("Deconvolution")
class Deconvolution(BaseConvolution):
    """The adjoint of Convolution, plus b; W (C, num_output / group, *kernel), b (num_output,)

    output size: stride (size - 1) + dilation (kernel - 1) + 1 - 2 pad
    """

    @classmethod
    def coordinate_map(cls, options):
        axis, stride, extent, pad = window_options(cls.__name__, options)
        return axis, stride, (extent - 1) / 2 - pad

    def weight_shape(self) -> tuple[int, ...]:
        return (self.channels, self.outputs // self.group, *self.window.kernel)

    def multiply_adds(self, bottoms, tops):
        """Each value of a bottom is spread by the filter of its channel."""
        return sum(map(math.prod, bottoms)) * (self.blobs[0].count // self.channels)

    def output_size(self, size: tuple[int, ...]) -> tuple[int, ...]:
        return self.window.spread(size)

    def compute(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        w = self.window
        y = CONVOLVE_TRANSPOSED[self.spatial](self.as_images(x), weight, bias, w.stride, w.pad, 0,
                                              self.group, w.dilation)
        return self.like_bottom(y, x)


@LAYERS.register("Im2col")
class Im2col(TorchLayer):
    """The windows a convolution sees, each as a column: (..., C, *size) -> (..., C * K, *windows)

    C is on `axis`, K = number of places of the kernel; the kernel's last axis runs fastest.
    """

    num_bottom = exactly(1)
    num_top = exactly(1)

    @classmethod
    def coordinate_map(cls, options):
        return places_in_windows(cls.__name__, options)

    def setup(self, bottom, top):
        options, shape = self.param.convolution_param, bottom[0].shape
        self.axis = canonical(self, options.axis, len(shape))
        self.window = Window.from_param(self, options, len(shape) - self.axis - 1)

    def check(self, *shapes):
        w = self.window
        if len(shapes[0]) != self.axis + 1 + len(w.kernel) or any(
                n + 2 * p < d * (k - 1) + 1 for n, k, p, d
                in zip(shapes[0][self.axis + 1:], w.kernel, w.pad, w.dilation)):
            raise LayerError(f"{self.title}: kernel {w.kernel} with dilation {w.dilation} does not "
                             f"fit a bottom of shape {shapes[0]} padded by {w.pad}")

    def compute(self, x: Tensor) -> Tensor:
        w, first, count = self.window, self.axis + 1, len(self.window.kernel)
        y = F.pad(x, [p for pad in reversed(w.pad) for p in (pad, pad)])
        for i, (k, s, d) in enumerate(zip(w.kernel, w.stride, w.dilation)):
            y = y.unfold(first + i, d * (k - 1) + 1, s)[..., ::d]
        axes = range(first + count, first + 2 * count)          # of the kernel: they go first
        y = y.permute(*range(first), *axes, *range(first, first + count))
        return y.reshape(*x.shape[:self.axis], x.shape[self.axis] * math.prod(w.kernel),
                         *y.shape[first + count:])
