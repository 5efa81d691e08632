"""Normalize and Permute."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, Layer, TorchLayer, between, exactly
from caffe.ops import Mode
from caffe.proto import caffe_pb2

LEAST_NORM = 1e-6       # of NormFace


@LAYERS.register("Normalize")
def normalize(param: Any, *args: Any) -> Layer:
    """y = s x / sqrt(sum of x^2 + eps) over channels or the image (SSD; NormFace another)

    An object of Normalize if there is a norm_param, else of UnitNormalize.
    """
    return (Normalize if param.HasField("norm_param") else UnitNormalize)(param, *args)


class UnitNormalize(TorchLayer):
    """x / norm, norm = sqrt(sum over channels of x^2 + 1e-6), or sum of |x| + 1e-6 (L1) (NormFace)

    top 1 on request: the norm (N, 1, ...); with bp_norm its gradient counts. fix_gradient is not
    read: the original's CPU code does not, its GPU code leaves out the division by the norm.
    """

    num_bottom = exactly(1)
    num_top = between(1, 2)

    def setup(self, bottom, top):
        self.tops, options = len(top), self.param.normalize_param
        if options.normalize_type not in ("L1", "L2"):
            raise LayerError(f'{self.title}: normalize_type must be "L2" or "L1", got '
                             f'"{options.normalize_type}"')
        self.absolute = options.normalize_type == "L1"

    def compute(self, x: Tensor) -> tuple[Tensor, ...]:
        norm = x.abs().sum(1, keepdim=True) + LEAST_NORM if self.absolute \
            else (x.square().sum(1, keepdim=True) + LEAST_NORM).sqrt()
        beside = norm if self.param.normalize_param.bp_norm else norm.detach()
        return (x / norm, beside)[:self.tops]


class Normalize(TorchLayer):
    """y = s x / sqrt(sum of x^2 + eps), the sum over channels or, across_spatial, over the image

    bottom: (N, C, ...); parameter: s, () if channel_shared, else (C,), filled with 1 by default.
    mode REFERENCE: SSD multiplies the gradient of x by s at the end, where the derivative has s
    inside the sum over channels (EXACT); they differ where scales do.
    """

    num_bottom = exactly(1)
    num_top = exactly(1)

    def setup(self, bottom, top):
        options = self.param.norm_param
        if len(bottom[0].shape) < 2:
            raise LayerError(f"{self.title}: the bottom must have at least 2 axes, got shape "
                             f"{bottom[0].shape}")
        one = caffe_pb2.FillerParameter(type="constant", value=1)
        shape = () if options.channel_shared else bottom[0].shape[1:2]
        self.add_blob(shape, options.scale_filler if options.HasField("scale_filler") else one)
        self.exact = options.channel_shared or Mode(options.mode) is Mode.EXACT

    def check(self, *shapes):
        if self.blobs[0].shape not in ((), shapes[0][1:2]):
            raise LayerError(f"{self.title}: has scales for {self.blobs[0].count} channels, the "
                             f"bottom has the shape {shapes[0]}")

    def compute(self, x: Tensor, scale: Tensor) -> Tensor:
        options = self.param.norm_param
        scale = scale.reshape(-1, *[1] * (x.dim() - 2))         # beside the channels
        if not self.exact:
            x = _as(x, scale.detach() * x)
        summed = tuple(range(1, x.dim())) if options.across_spatial else 1
        unit = x / (x.square().sum(summed, keepdim=True) + options.eps).sqrt()
        if self.exact:
            return scale * unit
        return _as(scale * unit, unit + (scale - scale.detach()) * unit.detach())


def _as(value: Tensor, other: Tensor) -> Tensor:
    """`value`, with the gradient of `other`"""
    return value.detach() + (other - other.detach()) if other.requires_grad else value


@LAYERS.register("Permute")
class Permute(TorchLayer):
    """Axis k of the top is axis order[k] of the bottom; axes not named follow in ascending order"""

    num_bottom = exactly(1)
    num_top = exactly(1)

    def setup(self, bottom, top):
        rank = len(bottom[0].shape)
        order = list(self.param.permute_param.order)
        if len(set(order)) < len(order) or any(axis >= rank for axis in order):
            raise LayerError(f"{self.title}: order {order} must name axes of 0 to {rank - 1}, each "
                             f"once")
        self.order = order + [axis for axis in range(rank) if axis not in order]

    def check(self, *shapes):
        if len(shapes[0]) != len(self.order):
            raise LayerError(f"{self.title}: was built for {len(self.order)} axes, the bottom has "
                             f"the shape {shapes[0]}")

    def compute(self, x: Tensor) -> Tensor:
        return x.permute(self.order)
