"""Proposal: the region proposal network's scores and shifts become RoIs, without Python."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from caffe import ops
from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, Layer, between, exactly


class Proposal(Layer):
    """top: RoIs (R, 5): image, x1, y1, x2, y2; on request their scores (R,)

    bottom: scores (N, 2 A, H, W), background first; shifts (N, 4 A, H, W); image info (1, 3 or 4):
    height, width, scale, or one a side. Anchors, one for each ratio and scale, shifted and clipped
    to the image; those with a side below min_size times the scale get the score 0. The
    pre_nms_topn best are suppressed (nms_thresh), post_nms_topn stay, image by image. No gradient.
    """

    num_bottom = exactly(3)
    num_top = between(1, 2)

    def setup(self, bottom, top):
        options = self.param.proposal_param
        self.anchors = anchors(options.base_size, list(options.ratio), list(options.scale)).to(
            self.device, self.dtype)
        if not len(self.anchors):
            raise LayerError(f"{self.title}: proposal_param needs ratio and scale")

    def reshape(self, bottom, top):
        count, (images, _, *size) = len(self.anchors), bottom[0].shape
        wanted = [(images, 2 * count, *size), (images, 4 * count, *size)]
        if [b.shape for b in bottom[:2]] != wanted or bottom[2].count not in (3, 4):
            raise LayerError(f"{self.title}: {count} anchors need bottoms of shape {wanted[0]}, "
                             f"{wanted[1]} and (1, 3), got "
                             f"{', '.join(str(b.shape) for b in bottom)}")
        most = images * self.param.proposal_param.post_nms_topn
        top[0].reshape(most, 5)
        if len(top) > 1:
            top[1].reshape(most)

    def forward(self, bottom, top):
        for blob, value in zip(top, self._proposals(*(blob.tensor for blob in bottom))):
            blob.tensor = value

    def likely(self, index, shapes, random):
        if index != 2:
            return None
        height, width = np.multiply(shapes[0][2:], self.param.proposal_param.feat_stride)
        return np.resize([height, width, 1, 1], shapes[2])

    def tensor_form(self):
        return self._proposals if len(self.anchors) else None

    def _proposals(self, scores: Tensor, shifts: Tensor, info: Tensor) -> tuple[Tensor, Tensor]:
        info, found = info.flatten(), []
        for image in range(len(scores)):
            boxes = self._boxes(shifts[image], info)
            score = scores[image, len(self.anchors):].permute(1, 2, 0).reshape(-1)
            number = torch.full_like(score[:, None], image)
            rows = torch.cat((number, boxes, (score * self._large(boxes, info))[:, None]), 1)
            found.append(self._best(rows))
        rows = torch.cat(found) if found else scores.new_zeros(0, 6)
        return rows[:, :5].contiguous(), rows[:, 5].contiguous()

    def _boxes(self, shifts: Tensor, info: Tensor) -> Tensor:
        """(H W A, 4): the anchors of each cell, shifted and clipped"""
        height, width = shifts.shape[1:]
        stride = self.param.proposal_param.feat_stride
        rows, columns = (torch.arange(n, dtype=shifts.dtype, device=shifts.device) * stride
                         for n in (height, width))
        corner = torch.stack(torch.broadcast_tensors(columns, rows[:, None]), 2)     # (H, W, 2)
        boxes = self.anchors + corner.repeat(1, 1, 2)[:, :, None]
        shift = shifts.reshape(-1, 4, height, width).permute(2, 3, 0, 1)    # (H, W, A, 4)
        size = boxes[..., 2:] - boxes[..., :2] + 1
        centre = boxes[..., :2] + size / 2 + shift[..., :2] * size
        half = shift[..., 2:].exp() * size / 2
        most = (info[[1, 0]] - 1).clamp(min=0)
        corners = [torch.minimum(c, most).clamp(min=0) for c in (centre - half, centre + half)]
        return torch.cat(corners, 3).reshape(-1, 4)

    def _large(self, boxes: Tensor, info: Tensor) -> Tensor:
        scale = info[[3, 2]] if len(info) == 4 else info[[2, 2]]
        least = self.param.proposal_param.min_size * scale
        return (boxes[:, 2:] - boxes[:, :2] + 1 >= least).all(1)

    def _best(self, rows: Tensor) -> Tensor:
        options = self.param.proposal_param
        order = rows[:, 5].sort(descending=True, stable=True).indices[:options.pre_nms_topn]
        rows = rows[order]
        return rows[ops.nms(rows[:, 1:].contiguous(), options.nms_thresh,
                            limit=options.post_nms_topn)]

    def backward(self, top, propagate_down, bottom):
        pass


for _name in ("Proposal", "ProposalLayer"):
    LAYERS.register(_name)(Proposal)


def anchors(base: int, ratios: list[float], scales: list[float]) -> Tensor:
    """(A, 4) boxes about a square of `base` pixels at (0, 0): for each ratio height / width, in
    whole pixels, each scale."""
    ratio, scale = (torch.tensor(x, dtype=torch.float64) for x in (ratios, scales))
    width = (base ** 2 / ratio).sqrt().round()
    side = torch.stack((width, (width * ratio).round()), 1)[:, None] * scale[:, None]
    half = (side.reshape(-1, 2) - 1) / 2
    middle = (base - 1) / 2
    return torch.cat((middle - half, middle + half), 1)
