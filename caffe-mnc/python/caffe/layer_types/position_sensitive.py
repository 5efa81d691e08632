"""PSROIPooling of R-FCN: each bin of a RoI reads its own group of channels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS
from caffe.layer_types.region import RegionLayer
from caffe.ops.rois import check_images

LEAST_EXTENT = 0.1      # of a RoI on the map


@LAYERS.register("PSROIPooling")
class PSROIPooling(RegionLayer):
    """top[r, d, i, j] = mean of channel (d G + i) G + j over bin (i, j) of RoI r (R-FCN)

    bottom: features (N, D G^2, H, W), rois (R, 5); top: (R, D, G, G), D = output_dim, G =
    group_size. A RoI is round(x1) s .. (round(x2) + 1) s, s = spatial_scale, rounded half away from
    zero; bins are rounded outward and clipped to the map, empty ones give 0. Differentiable in the
    features only.
    """

    def setup(self, bottom, top):
        options = self.param.psroi_pooling_param
        self.outputs, self.groups = options.output_dim, options.group_size
        self.size, self.spatial_scale = (self.groups, self.groups), options.spatial_scale
        if self.outputs < 1 or self.groups < 1 or self.spatial_scale <= 0:
            raise LayerError(f"{self.title}: psroi_pooling_param needs output_dim, group_size and "
                             f"spatial_scale above 0, got {self.outputs}, {self.groups} and "
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

    def compute(self, features: Tensor, rois: Tensor) -> Tensor:
        images, channels, height, width = features.shape
        rois = rois.detach().reshape(-1, 5)
        check_images(self.title, rois, images)
        x1, x2, y1, y2 = (*self._bins(rois[:, 1::2], width), *self._bins(rois[:, 2::2], height))
        # Sums over rectangles from the corner; in double, for differences are taken of them.
        sums = F.pad(features.double().cumsum(2).cumsum(3), (1, 0, 1, 0)).reshape(-1)
        group = torch.arange(self.groups, device=rois.device)
        first = torch.arange(self.outputs, device=rois.device)[:, None, None] * self.groups
        channel = (first + group[:, None]) * self.groups + group        # (D, G, G)
        plane = (rois[:, 0].long()[:, None, None, None] * channels + channel) * (height + 1)
        corner = [sums[(plane + y[:, None, :, None]) * (width + 1) + x[:, None, None, :]]
                  for y, x in ((y2, x2), (y1, x2), (y2, x1), (y1, x1))]
        area = (y2 - y1)[:, None, :, None] * (x2 - x1)[:, None, None, :]
        total = corner[0] - corner[1] - corner[2] + corner[3]
        return torch.where(area > 0, total / area.clamp(min=1), 0).to(features.dtype)

    def _bins(self, corners: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """First pixel and end of each bin, (R, G), from first and last pixel (R, 2)"""
        whole = corners.trunc()
        rounded = whole + corners.sign() * ((corners - whole).abs() >= 0.5)
        start, end = rounded[:, :1] * self.spatial_scale, (rounded[:, 1:] + 1) * self.spatial_scale
        each = (end - start).clamp(min=LEAST_EXTENT) / self.groups
        place = torch.arange(self.groups, dtype=corners.dtype, device=corners.device)
        first, last = (place * each + start).floor(), ((place + 1) * each + start).ceil()
        first, last = first.clamp(0, size), last.clamp(0, size)
        return first.long(), torch.maximum(first, last).long()
