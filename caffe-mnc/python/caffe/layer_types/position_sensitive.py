"""Each bin of a RoI reads its own group of channels: R-FCN, and what became of it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, between
from caffe.layer_types.region import RegionLayer
from caffe.ops.rois import check_images

LEAST_EXTENT = 0.1      # of a RoI on the map


class PositionSensitive(RegionLayer):
    """top[r, d, i, j] is read from channel (d G + i) G + j

    bottom: features (N, D G^2, H, W), rois (R, 5); top: (R, D, G, G), D = output_dim, G =
    group_size. Below, s = spatial_scale.
    """

    def take(self, options) -> None:
        self.outputs, self.groups = options.output_dim, options.group_size
        self.size, self.spatial_scale = (self.groups, self.groups), options.spatial_scale
        if self.outputs < 1 or self.groups < 1 or self.spatial_scale <= 0:
            raise LayerError(f"{self.title}: output_dim, group_size and spatial_scale must be "
                             f"above 0, got {self.outputs}, {self.groups} and "
                             f"{self.spatial_scale:g}")

    def check(self, *shapes):
        super().check(*shapes)
        wanted = self.outputs * self.groups ** 2
        if shapes[0][1] != wanted:
            raise LayerError(f"{self.title}: output_dim {self.outputs} and group_size "
                             f"{self.groups} need {wanted} channels, the features have the shape "
                             f"{shapes[0]}")

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [(shapes[1][0], self.outputs, *self.size)]

    def planes(self, features: Tensor, rois: Tensor) -> Tensor:
        """(R, D, *size): which of the N D G^2 planes each value of the top is read from"""
        images, channels = features.shape[:2]
        check_images(self.title, rois, images)
        rows, columns = (torch.arange(n, device=rois.device) * self.groups // n for n in self.size)
        first = torch.arange(self.outputs, device=rois.device)[:, None, None] * self.groups
        channel = (first + rows[:, None]) * self.groups + columns       # (D, *size)
        return rois[:, 0].long()[:, None, None, None] * channels + channel


@LAYERS.register("PSROIPooling")
class PSROIPooling(PositionSensitive):
    """top[r, d, i, j] = mean of channel (d G + i) G + j over bin (i, j) of RoI r (R-FCN)

    A RoI is round(x1) s .. (round(x2) + 1) s, rounded half away from zero; bins are rounded
    outward and clipped to the map, empty ones give 0. Differentiable in the features only.
    """

    def setup(self, bottom, top):
        self.take(self.param.psroi_pooling_param)

    def compute(self, features: Tensor, rois: Tensor) -> Tensor:
        height, width = features.shape[2:]
        rois = rois.detach().reshape(-1, 5)
        plane = self.planes(features, rois) * (height + 1)
        x1, x2, y1, y2 = (*self._bins(rois[:, 1::2], width), *self._bins(rois[:, 2::2], height))
        # Sums over rectangles from the corner; in double, for differences are taken of them.
        sums = F.pad(features.double().cumsum(2).cumsum(3), (1, 0, 1, 0)).reshape(-1)
        corner = [sums[(plane + y[:, None, :, None]) * (width + 1) + x[:, None, None, :]]
                  for y, x in ((y2, x2), (y1, x2), (y2, x1), (y1, x1))]
        area = (y2 - y1)[:, None, :, None] * (x2 - x1)[:, None, None, :]
        total = corner[0] - corner[1] - corner[2] + corner[3]
        return torch.where(area > 0, total / area.clamp(min=1), 0).to(features.dtype)

    def _bins(self, corners: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """First pixel and end of each bin, (R, G), from first and last pixel (R, 2)"""
        rounded = half_away_from_zero(corners)
        start, end = rounded[:, :1] * self.spatial_scale, (rounded[:, 1:] + 1) * self.spatial_scale
        each = (end - start).clamp(min=LEAST_EXTENT) / self.groups
        place = torch.arange(self.groups, dtype=corners.dtype, device=corners.device)
        first, last = (place * each + start).floor(), ((place + 1) * each + start).ceil()
        first, last = first.clamp(0, size), last.clamp(0, size)
        return first.long(), torch.maximum(first, last).long()


def half_away_from_zero(values: Tensor) -> Tensor:
    """Whole numbers, as C's round() makes them"""
    whole = values.trunc()
    return whole + values.sign() * ((values - whole).abs() >= 0.5)


@LAYERS.register("PSROIAlign")
class PSROIAlign(PositionSensitive):
    """As PSROIPooling, each bin the mean of sample_num^2 linear samples (makefile/frcnn)

    A RoI is x1 s .. (x2 + 1) s, not rounded, in G bins held inside the middles of the map's outer
    pixels. Sample k of n lies k / (n + 1) of a bin behind where it now starts; those at or behind
    its end count as 0. Differentiable in the features only.
    """

    def setup(self, bottom, top):
        options = self.param.psroi_align_param
        self.take(options)
        self.samples = options.sample_num
        if self.samples < 1:
            raise LayerError(f"{self.title}: sample_num must be at least 1, got {self.samples}")

    def compute(self, features: Tensor, rois: Tensor) -> Tensor:
        rois = rois.detach().reshape(-1, 5)
        planes = self.planes(features, rois)[..., None, None]
        (y, seen_y), (x, seen_x) = (self._places(rois[:, first::2], n) for first, n in zip(
            (2, 1), features.shape[2:]))                                # (R, G, S)
        values = linear(features, planes, y[:, None, :, None, :, None], x[:, None, None, :, None])
        seen = seen_y[:, None, :, None, :, None] & seen_x[:, None, None, :, None]
        return (values * seen).sum((4, 5)) / self.samples ** 2

    def _places(self, corners: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Where the samples of each bin lie, (R, G, S), and whether they count"""
        start = corners[:, :1] * self.spatial_scale
        end = (corners[:, 1:] + 1) * self.spatial_scale
        each = (end - start).clamp(min=LEAST_EXTENT) / self.groups
        bins, shares = (torch.arange(n, dtype=corners.dtype, device=corners.device)
                        for n in (self.groups, self.samples))
        first, last = ((i * each + start).clamp(0, size - 1) for i in (bins, bins + 1))
        at = first[..., None] + (shares + 1) * (each / (self.samples + 1))[..., None]
        return at.clamp(max=size - 1), at < last[..., None]


@LAYERS.register("DeformablePSROIPooling")
class DeformablePSROIPooling(PositionSensitive):
    """As PSROIPooling, each bin the mean of samples, moved by a third bottom (Deformable ConvNets)

    bottom: features, rois, moves (R, 2 K, part_size, part_size): x, then y of each of K groups of
    outputs, in trans_std sides of the RoI. top: (R, D, pooled_size, pooled_size). A RoI is
    round(x1) s - 0.5 .. (round(x2) + 1) s - 0.5. Of sample_per_part^2 samples from the corner of a
    bin on, those more than half a pixel outside count nothing. Differentiable in moves too.
    """

    num_bottom = between(2, 3)

    def setup(self, bottom, top):
        options = self.param.deformable_psroi_pooling_param
        self.take(options)
        pooled, self.samples = options.pooled_size, options.sample_per_part
        self.size, self.part = (pooled, pooled), options.part_size or pooled
        self.moves = not options.no_trans
        if pooled < 1 or self.samples < 1 or (self.moves and len(bottom) < 3):
            raise LayerError(f"{self.title}: needs pooled_size and sample_per_part above 0, and a "
                             f"third bottom (moves) or no_trans: true")
        self.no_gradient = (1,) if self.moves else (1, 2)

    def check(self, *shapes):
        super().check(*shapes)
        groups = shapes[2][1] // 2 if self.moves else 1
        if self.moves and (not groups or self.outputs % groups or shapes[2] != (
                shapes[1][0], 2 * groups, self.part, self.part)):
            raise LayerError(f"{self.title}: bottom 2 (moves) must be ({shapes[1][0]}, 2 K, "
                             f"{self.part}, {self.part}), K a divisor of output_dim "
                             f"{self.outputs}, got {shapes[2]}")

    def compute(self, features: Tensor, rois: Tensor, *moves: Tensor) -> Tensor:
        rois = rois.detach().reshape(-1, 5)
        planes = self.planes(features, rois)[..., None, None]
        x, y = (self._places(rois[:, 1 + axis::2], axis, *moves) for axis in (0, 1))
        y, x = y[..., None], x[..., None, :]                            # (R, D or 1, P, P, S, S)
        height, width = features.shape[2:]
        seen = (y >= -0.5) & (y <= height - 0.5) & (x >= -0.5) & (x <= width - 0.5)
        values = linear(features, planes, y.clamp(0, height - 1), x.clamp(0, width - 1))
        return (values * seen).sum((4, 5)) / seen.sum((4, 5)).clamp(min=1)

    def _places(self, corners: Tensor, axis: int, *moves: Tensor) -> Tensor:
        """x (axis 0) or y (axis 1) of the samples, (R, D or 1, P, P, S)"""
        trans_std = self.param.deformable_psroi_pooling_param.trans_std
        whole = half_away_from_zero(corners)
        start = whole[:, :1] * self.spatial_scale - 0.5
        end = (whole[:, 1:] + 1) * self.spatial_scale - 0.5
        extent = (end - start).clamp(min=LEAST_EXTENT)[..., None, None]     # (R, 1, 1, 1)
        bins, samples = (torch.arange(n, dtype=corners.dtype, device=corners.device)
                         for n in (self.size[0], self.samples))
        at = start[..., None, None] + (bins[:, None] if axis else bins) * extent / self.size[0]
        if self.moves:
            at = at + self._of_bins(moves[0][:, axis::2]) * trans_std * extent
        at = at.expand(-1, -1, *self.size)
        return at[..., None] + samples * (extent / (self.size[0] * self.samples))[..., None]

    def _of_bins(self, moves: Tensor) -> Tensor:
        """(R, K, part, part) -> (R, D, P, P): the part that a bin lies in"""
        part = torch.arange(self.size[0], device=moves.device) * self.part // self.size[0]
        return moves[:, :, part][..., part].repeat_interleave(self.outputs // moves.shape[1], 1)


def linear(features: Tensor, planes: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Of features (N, C, H, W), between pixels of planes 0 to N C; y and x inside the map

    planes, y, x: of shapes that broadcast to that of the result. Differentiable in y and x, too.
    """
    height, width = features.shape[2:]
    flat, total = features.reshape(-1), torch.zeros((), dtype=features.dtype,
                                                    device=features.device)
    top, left = y.detach().floor(), x.detach().floor()
    down, right = y - top, x - left
    for i, in_row in enumerate((1 - down, down)):
        row = planes * height + (top + i).clamp(max=height - 1).long()
        for j, in_column in enumerate((1 - right, right)):
            column = (left + j).clamp(max=width - 1).long()
            total = total + flat[row * width + column] * (in_row * in_column)
    return total
