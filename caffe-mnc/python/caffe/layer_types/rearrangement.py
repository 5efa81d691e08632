"""The same values in another order: of channels, of axes, along an axis, of pixels and channels."""

from __future__ import annotations

from torch import Tensor

from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, TorchLayer, exactly
from caffe.layer_types.axes import canonical, expect_rank


class Rearrangement(TorchLayer):
    """One bottom, one top with its values in another order."""

    num_bottom = exactly(1)
    num_top = exactly(1)


@LAYERS.register("ShuffleChannel")
class ShuffleChannel(Rearrangement):
    """y[:, j * G + i] = x[:, i * (C / G) + j], G = group (ShuffleNet)"""

    def check(self, *shapes):
        group = self.param.shuffle_channel_param.group
        if len(shapes[0]) < 2 or not group or shapes[0][1] % group:
            raise LayerError(f"{self.title}: the channels (axis 1) of a bottom of shape "
                             f"{shapes[0]} are no multiple of group {group}")

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [shapes[0]]

    def compute(self, x: Tensor) -> Tensor:
        group = self.param.shuffle_channel_param.group
        groups = x.reshape(x.shape[0], group, x.shape[1] // group, *x.shape[2:])
        return groups.transpose(1, 2).reshape(x.shape)


@LAYERS.register("Reverse")
class Reverse(Rearrangement):
    """The bottom backwards along `axis` (CTPN)"""

    def check(self, *shapes):
        canonical(self, self.param.reverse_param.axis, len(shapes[0]))

    def compute(self, x: Tensor) -> Tensor:
        return x.flip(self.param.reverse_param.axis)


@LAYERS.register("Flip")
class Flip(Rearrangement):
    """The planes mirrored, left to right, and upside down with flip_height (NormFace)"""

    def check(self, *shapes):
        expect_rank(self, shapes[0], 4, "the bottom")

    def compute(self, x: Tensor) -> Tensor:
        options = self.param.flip_param
        return x.flip([axis for axis, on in ((2, options.flip_height), (3, options.flip_width))
                       if on])


@LAYERS.register("Transpose")
class Transpose(Rearrangement):
    """The axes in another order: axis i of the top is axis dim[i] of the bottom (CTPN)"""

    def check(self, *shapes):
        order = tuple(self.param.transpose_param.dim)
        if sorted(order) != list(range(len(shapes[0]))):
            raise LayerError(f"{self.title}: dim {order} must name each axis of the bottom of "
                             f"shape {shapes[0]} once")

    def compute(self, x: Tensor) -> Tensor:
        return x.permute(*self.param.transpose_param.dim).contiguous()


@LAYERS.register("Reorg")
class Reorg(Rearrangement):
    """Darknet's exchange of pixels and channels, s = stride (YOLOv2)

    (N, C, H, W) -> (N, C s^2, H / s, W / s); with `reverse` (N, C / s^2, H s, W s). One map pairs
    the flat places of an image: (c, h, w) of (C, H, W) with (c mod C', h s + o div s,
    w s + o mod s) of (C', H s, W s), C' = C / s^2, o = c div C'. With `reverse` values go from the
    first place to the second, without it from the second to the first. The gradient is the adjoint.
    """

    def check(self, *shapes):
        expect_rank(self, shapes[0], 4, "the bottom")
        stride, (_, channels, height, width) = self.param.reorg_param.stride, shapes[0]
        if stride < 1:
            raise LayerError(f"{self.title}: reorg_param.stride is missing or 0")
        fits = self.param.reorg_param.reverse or (height % stride == 0 and width % stride == 0)
        if channels % stride ** 2 or not fits:
            raise LayerError(f"{self.title}: a bottom of shape {shapes[0]} cannot be reordered "
                             f"with stride {stride}; its channels must be a multiple of "
                             f"{stride ** 2}, and without reverse its height and width of {stride}")

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        (images, channels, height, width), s = shapes[0], self.param.reorg_param.stride
        if self.param.reorg_param.reverse:
            return [(images, channels // s ** 2, height * s, width * s)]
        return [(images, channels * s ** 2, height // s, width // s)]

    def compute(self, x: Tensor) -> Tensor:
        s, (images, channels, height, width) = self.param.reorg_param.stride, x.shape
        small = channels // s ** 2
        if self.param.reorg_param.reverse:
            y = x.reshape(images, s, s, small, height, width).permute(0, 3, 4, 1, 5, 2)
        else:
            y = x.reshape(images, small, height, s, width, s).permute(0, 3, 5, 1, 2, 4)
        return y.reshape(self.output_shapes(tuple(x.shape))[0])
