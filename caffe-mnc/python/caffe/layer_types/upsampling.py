"""Larger planes: Interp, the four layers that forks call Upsample, UnPooling."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, Layer, TorchLayer, between, exactly
from caffe.layer_types.axes import expect_rank
from caffe.layer_types.window import Window


class Resize(TorchLayer):
    """(N, C, H, W) -> (N, C, *size(shapes of the bottoms))"""

    num_bottom = exactly(1)
    num_top = exactly(1)

    def size(self, *shapes: tuple[int, ...]) -> tuple[int, int]:
        raise NotImplementedError

    def check(self, *shapes):
        for i, shape in enumerate(shapes):
            expect_rank(self, shape, 4, f"bottom {i}")
        if min(self.size(*shapes)) < 1:
            raise LayerError(f"{self.title}: a bottom of shape {shapes[0]} would become "
                             f"{self.size(*shapes)}")

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [(*shapes[0][:2], *self.size(*shapes))]


@LAYERS.register("Interp")
class Interp(Resize):
    """Bilinear, corners aligned: row o from row o (H - 1) / (H' - 1) (DeepLab, PSPNet)

    H counts without -pad_beg at the beginning and -pad_end at the end. H' by what is given:
    shrink_factor s: (H - 1) div s + 1; zoom_factor z: H + (H - 1)(z - 1); else height and width;
    else first shrink, then zoom.
    """

    def setup(self, bottom, top):
        options = self.param.interp_param
        given = {f for f in ("height", "width", "zoom_factor", "shrink_factor")
                 if options.HasField(f)}
        self.shrink = self.zoom = 1
        self.fixed = None
        factors = given & {"zoom_factor", "shrink_factor"}
        if len(factors) == 1 or (factors and not given >= {"height", "width"}):
            self.shrink, self.zoom = options.shrink_factor, options.zoom_factor
        elif given >= {"height", "width"}:
            self.fixed = (options.height, options.width)
        else:
            raise LayerError(f"{self.title}: interp_param needs height and width, zoom_factor or "
                             f"shrink_factor")
        if min(self.shrink, self.zoom) < 1 or max(options.pad_beg, options.pad_end) > 0:
            raise LayerError(f"{self.title}: factors must be at least 1, pad_beg and pad_end at "
                             f"most 0 (they leave out)")

    def size(self, *shapes):
        if self.fixed:
            return self.fixed
        lengths = [(n - 1) // self.shrink + 1 for n in self._inside(shapes[0])]
        return tuple(n + (n - 1) * (self.zoom - 1) for n in lengths)

    def check(self, *shapes):
        expect_rank(self, shapes[0], 4, "the bottom")
        if min(self._inside(shapes[0])) < 1:
            raise LayerError(f"{self.title}: pad_beg and pad_end leave nothing of a bottom of "
                             f"shape {shapes[0]}")
        super().check(*shapes)

    def _inside(self, shape: tuple[int, ...]) -> list[int]:
        options = self.param.interp_param
        return [n + options.pad_beg + options.pad_end for n in shape[2:]]

    def compute(self, x: Tensor) -> Tensor:
        start, (height, width) = -self.param.interp_param.pad_beg, self._inside(tuple(x.shape))
        inside = x[:, :, start:start + height, start:start + width]
        return bilinear(inside, self.size(tuple(x.shape)))


def bilinear(x: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, C, H, W) -> (N, C, *size), corners aligned"""
    if not x.numel():
        return x.new_zeros((*x.shape[:2], *size)) + x.sum()
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


@LAYERS.register("Upsample")
def upsample(param: Any, *args: Any) -> Layer:
    """By a pooling's mask (SegNet), a factor (MobileNet-YOLO), a size (yolov5_caffe, Tiny-DSOD)

    An object of UpsampleToSize for the fields height, width, height_scale, width_scale, mode; of
    UpsampleByFactor for one bottom; else of UpsampleByMask, or UpsampleLike where the two bottoms
    differ in shape and there is no upsample_param.
    """
    options = param.upsample_param
    fields = ("height", "width", "height_scale", "width_scale", "mode")
    if any(options.HasField(f) for f in fields):
        return UpsampleToSize(param, *args)
    if len(param.bottom) < 2:
        return UpsampleByFactor(param, *args)
    return UpsampleByMask(param, *args) if param.HasField("upsample_param") \
        else UpsampleByMaskOrLike(param, *args)


class UpsampleByMask(Resize):
    """y = 0 but y[mask] = x, plane by plane; of equal places the last in row order stays (SegNet)

    bottom: x (N, C, H, W), mask like x: places h * W' + w, the second top of a MAX pooling. W' =
    upsample_w, or W * scale_w - pad_out_w. The gradient goes to every x from its place.
    """

    num_bottom = exactly(2)
    no_gradient: tuple[int, ...] = (1,)

    def size(self, *shapes):
        options = self.param.upsample_param
        if options.HasField("upsample_h") and options.HasField("upsample_w"):
            return options.upsample_h, options.upsample_w
        factors = [getattr(options, side) if options.HasField(side) else options.scale
                   for side in ("scale_h", "scale_w")]
        return tuple(n * factor - cut for n, factor, cut in zip(
            shapes[0][2:], factors, (options.pad_out_h, options.pad_out_w)))

    def check(self, *shapes):
        super().check(*shapes)
        if shapes[0] != shapes[1]:
            raise LayerError(f"{self.title}: the mask (bottom 1) must have the shape of bottom 0, "
                             f"{shapes[0]}, got {shapes[1]}")

    def compute(self, x: Tensor, mask: Tensor) -> Tensor:
        return unpool(self, x, mask, self.size(tuple(x.shape)))


def unpool(layer: Layer, x: Tensor, mask: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, C, *size): x at the places that `mask` gives, 0 elsewhere; LayerError for others."""
    places = mask.detach().flatten(2).long()
    area = size[0] * size[1]
    checked = places.numel() and not torch.compiler.is_compiling()
    if checked and not 0 <= int(places.min()) <= int(places.max()) < area:
        raise LayerError(f"{layer.title}: the mask holds places {int(places.min())} to "
                         f"{int(places.max())}, but the top has {area} ({size[0]} x {size[1]}); is "
                         f"it the mask of a pooling of that size?")
    y = _Scatter.apply(x.flatten(2), places, area)
    return y.reshape(*x.shape[:2], *size)


class _Scatter(torch.autograd.Function):
    """(..., K) values to their places of `area`; the last value of a place stays."""

    @staticmethod
    def forward(ctx, x, places, area):
        ctx.save_for_backward(places)
        order = torch.arange(x.shape[-1], device=x.device).expand_as(places)
        last = places.new_full((*x.shape[:-1], area), -1).scatter_reduce(2, places, order, "amax")
        stays = last.gather(2, places) == order
        return x.new_zeros(last.shape).scatter_add(2, places, torch.where(stays, x, 0))

    @staticmethod
    def backward(ctx, gradient):
        return gradient.gather(2, *ctx.saved_tensors), None, None


class UpsampleByFactor(Resize):
    """y[h, w] = x[h div scale, w div scale]; scale 1 by default (MobileNet-YOLO)"""

    def size(self, *shapes):
        options = self.param.upsample_param
        factor = options.scale if options.HasField("scale") else 1
        return tuple(n * factor for n in shapes[0][2:])

    def compute(self, x: Tensor) -> Tensor:
        return nearest(x, self.size(tuple(x.shape)))


def nearest(x: Tensor, size: tuple[int, int]) -> Tensor:
    """y[h] = x[h * H div H'], columns alike"""
    for axis, length in zip((2, 3), size):
        places = torch.arange(length, device=x.device) * x.shape[axis] // length
        x = x.index_select(axis, places)
    return x


class UpsampleToSize(Resize):
    """BILINEAR (corners aligned) or NEAREST, to bottom 1's size, height and width, or by factors

    The original passes no gradient back; this one does (yolov5_caffe).
    """

    num_bottom = between(1, 2)
    no_gradient = (1,)

    def size(self, *shapes):
        options = self.param.upsample_param
        if len(shapes) == 2:
            return shapes[1][2:]
        if options.HasField("height") and options.HasField("width"):
            return options.height, options.width
        if options.HasField("height_scale") and options.HasField("width_scale"):
            return shapes[0][2] * options.height_scale, shapes[0][3] * options.width_scale
        raise LayerError(f"{self.title}: upsample_param needs height and width, height_scale and "
                         f"width_scale, or a second bottom of the size")

    def compute(self, x: Tensor, *like: Tensor) -> Tensor:
        options = self.param.upsample_param
        resize = nearest if options.mode == options.NEAREST else bilinear
        return resize(x, self.size(*(tuple(b.shape) for b in (x, *like))))


class UpsampleByMaskOrLike(UpsampleByMask):
    """Two bottoms and no options: a mask if their shapes are equal, else UpsampleLike (Tiny-DSOD)

    bottom: reference (N, C, H', W'), x (N, C, H, W); top like the reference. Row h of the top comes
    from c = (h + 1) H / H' - 1, between rows i = trunc(c) and i + 1 with weights 1 - (c - i) and
    c - i; a row outside counts nothing. So the first rows reach beyond the two they lie between.
    """

    no_gradient: tuple[int, ...] = ()

    def setup(self, bottom, top):
        self.by_mask = bottom[0].shape == bottom[1].shape
        self.no_gradient = (1,) if self.by_mask else (0,)

    def size(self, *shapes):
        return super().size(*shapes) if self.by_mask else shapes[0][2:]

    def check(self, *shapes):
        if self.by_mask:
            super().check(*shapes)
            return
        Resize.check(self, *shapes)
        if shapes[0][:2] != shapes[1][:2]:
            raise LayerError(f"{self.title}: bottoms must hold the same images and channels, got "
                             f"{shapes[0]} and {shapes[1]}")

    def compute(self, reference: Tensor, x: Tensor) -> Tensor:      # type: ignore[override]
        if self.by_mask:
            return super().compute(reference, x)
        for axis in (2, 3):
            x = _tiny_dsod(x, axis, reference.shape[axis])
        return x


def _tiny_dsod(x: Tensor, axis: int, length: int) -> Tensor:
    """x with `length` rows along an axis: see UpsampleByMaskOrLike."""
    rows = torch.arange(length, dtype=x.dtype, device=x.device)
    at = (rows + 1) / (length / x.shape[axis]) - 1
    first = at.trunc()
    shape = [-1 if i == axis else 1 for i in range(4)]
    second = (at - first) * (first + 1 < x.shape[axis])
    lower, upper = (x.index_select(axis, i.long().clamp(max=x.shape[axis] - 1))
                    for i in (first, first + 1))
    return lower * (1 - (at - first)).reshape(shape) + upper * second.reshape(shape)


@LAYERS.register("UnPooling")
class UnPooling(Resize):
    """The reverse of a pooling: MAX to the places of its mask (DeconvNet)

    FIXED to the middle of each window; DIV spread over the window; REP repeated all over it; the
    mean where windows overlap.
    bottom: x (N, C, H, W), for MAX the pooling's mask. H' = unpool_size, unpool_h, or
    (H - 1) stride + kernel - 2 pad; a size of one's own is for MAX only.
    """

    num_bottom = between(1, 2)
    no_gradient = (1,)

    def setup(self, bottom, top):
        options = self.param.unpooling_param
        self.method = options.unpool if options.HasField("unpool") or len(bottom) == 2 \
            else options.FIXED
        self.window = Window.from_param(self, options, 2)
        if (self.method == options.MAX) != (len(bottom) == 2):
            raise LayerError(f"{self.title}: unpool MAX takes x and a mask, the others x alone; "
                             f"got {len(bottom)} bottom(s)")

    def size(self, *shapes):
        options, w = self.param.unpooling_param, self.window
        own = [getattr(options, side) or options.unpool_size for side in ("unpool_h", "unpool_w")]
        computed = [(n - 1) * s + k - 2 * p for n, s, k, p in zip(shapes[0][2:], w.stride, w.kernel,
                                                                  w.pad)]
        if self.method != options.MAX:
            return tuple(computed)
        return tuple(n or m for n, m in zip(own, computed))

    def compute(self, x: Tensor, *mask: Tensor) -> Tensor:
        options, size = self.param.unpooling_param, self.size(tuple(x.shape))
        if mask:
            return unpool(self, x, mask[0], size)
        if self.method == options.FIXED:
            return self._to_middles(x, size)
        spread = x / (self.window.kernel[0] * self.window.kernel[1]) \
            if self.method == options.DIV else x
        return self._cover(spread) / self._cover(torch.ones_like(x)).clamp(min=1)

    def _cover(self, x: Tensor) -> Tensor:
        """Each value all over its window, summed."""
        w, planes = self.window, x.reshape(-1, 1, *x.shape[2:])
        y = F.conv_transpose2d(planes, x.new_ones(1, 1, *w.kernel), None, w.stride, w.pad)
        return y.reshape(*x.shape[:2], *y.shape[2:])

    def _to_middles(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        w, steps = self.window, [torch.arange(n, device=x.device) for n in x.shape[2:]]
        rows, columns = ((step * s - p + (k - 1) // 2).clamp(0, most - 1)
                         for step, s, p, k, most in zip(steps, w.stride, w.pad, w.kernel, size))
        places = (rows[:, None] * size[1] + columns).expand_as(x)
        return unpool(self, x, places, size) if x.device.type != "meta" \
            else x.new_empty(*x.shape[:2], *size)
