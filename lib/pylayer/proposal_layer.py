"""ProposalLayer: RoIs from the region proposal network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

import caffe
from caffe.extend import TEST, LayerError, at_least, between
from mnc.boxes import on_device
from mnc.boxes.proposals import ProposalLimits, proposal_gradient, propose
from mnc.boxes.regression import bounded_growth
from mnc.config import cfg
from pylayer.adapter import (
    REQUIRED,
    as_array,
    image_info,
    no_gradient,
    read,
    read_diff,
    read_options,
    stays_on_device,
    write,
    write_diff,
)
from pylayer.anchor_grid import AnchorGrid
from pylayer.settings import NetSettings
from pylayer.tensor_forms import ProposalForm


class ProposalLayer(caffe.Layer):
    """rois = the best boxes, anchors moved by their deltas, after clipping, a size filter and NMS

    bottom: scores (1, 2A, H, W), background first; deltas (1, 4A, H, W);
            im_info (1, 3) = (height, width, scale); of a pyramid (feat_stride a list) also its
            maps, of which H counts all cells, and W is 1
    top:    rois (R, 5); optionally (1, R) the anchor of each, counted in (y, x, a) order
    The deltas get a gradient (in the form of cfg.COMPAT.PROPOSAL_GRADIENT), limited to
    +-1/clip_base if use_clip.
    """

    num_bottom = at_least(3)
    num_top = between(1, 2)

    def setup(self, bottom: list, top: list) -> None:
        # gradient_scale stands in published nets and never had an effect
        options = read_options(self, feat_stride=REQUIRED, use_clip=0, clip_base=256,
                               gradient_scale=1)
        self.anchor_grid = AnchorGrid.of(self, options.feat_stride, bottom[3:])
        self.limit = 1 / options.clip_base if options.use_clip else None
        net = NetSettings.of(cfg, self.phase)
        self.cell_anchors, self.limits = net.anchors, net.proposals
        self.exact, self.most_growth = net.exact_proposals, net.most_growth
        for blob, shape in zip(top, ((1, 5), (1, 1))):
            blob.reshape(*shape)

    def reshape(self, bottom: list, top: list) -> None:
        _, _, h, w = bottom[0].shape
        count = len(self.cell_anchors)
        if bottom[0].shape != (1, 2 * count, h, w) or bottom[1].shape != (1, 4 * count, h, w):
            raise LayerError(f"{self.title}: {count} anchors (cfg.ANCHOR_SCALES x "
                             f"cfg.ANCHOR_RATIOS) need scores (1, {2 * count}, H, W) and deltas "
                             f"(1, {4 * count}, H, W), "
                             f"got {bottom[0].shape} and {bottom[1].shape}")
        self.anchors = self.anchor_grid.anchors(self.cell_anchors, (h, w), bottom[3:])

    def forward(self, bottom: list, top: list) -> None:
        self.image_size, scale = image_info(self, bottom[2])
        limits = replace(self.limits, min_size=self.limits.min_size * scale)
        if stays_on_device(self, bottom):
            self._forward_on_device(bottom, top, limits)
            return
        scores = _rows(read(bottom[0])[:, len(self.cell_anchors):], 1)[:, 0]
        proposals = propose(scores, self._deltas(bottom), self.anchors, self.image_size, limits)
        self.anchor_index: Any = proposals.anchor_index     # a tensor on a GPU
        write(top[0], proposals.rois)
        if len(top) > 1:
            write(top[1], self.anchor_index[None])

    def _forward_on_device(self, bottom: list, top: list, limits: ProposalLimits) -> None:
        scores, deltas = (blob.tensor.permute(0, 2, 3, 1) for blob in bottom[:2])
        scores = scores[..., len(self.cell_anchors):].reshape(-1)
        anchors = torch.tensor(self.anchors, dtype=deltas.dtype, device=deltas.device)
        deltas = on_device.bounded_growth(deltas.reshape(-1, 4), self.most_growth)
        rois, index = on_device.propose(scores, deltas, anchors, self.image_size, limits)
        self.anchor_index = index
        top[0].tensor = rois
        if len(top) > 1:
            top[1].tensor = index[None]

    def likely(self, index: int, shapes: Sequence, random: Any) -> np.ndarray | None:
        """Of im_info: an image that covers the map, of a pyramid the finest; shapes of all bottoms.
        """
        finest = shapes[3] if len(shapes) > 3 else shapes[0]
        size = np.multiply(finest[2:], self.anchor_grid.steps[0])
        return np.array([[*size, 1]]) if index == 2 else None

    def tensor_form(self) -> ProposalForm | None:
        """The RoIs of a test net, and the anchor of each."""
        return ProposalForm(self.anchor_grid.of_levels(self.cell_anchors), self.anchor_grid.steps,
                            self.limits, self.most_growth) if self.phase == TEST else None

    def backward(self, top: list, propagate_down: list, bottom: list) -> None:
        no_gradient(bottom, propagate_down)
        if not propagate_down[1]:
            return
        rows = proposal_gradient(read_diff(top[0]), as_array(self.anchor_index),
                                 self._deltas(bottom), self.anchors, self.image_size,
                                 self.exact)
        if self.limit is not None:
            rows = np.clip(rows, -self.limit, self.limit)
        _, channels, h, w = bottom[1].shape
        write_diff(bottom[1], rows.reshape(1, h, w, channels).transpose(0, 3, 1, 2))

    def _deltas(self, bottom: list) -> np.ndarray:
        """(T, 4), a row an anchor, within cfg.COMPAT.BBOX_GROWTH."""
        return bounded_growth(_rows(read(bottom[1]), 4), self.most_growth)


def _rows(maps: np.ndarray, width: int) -> np.ndarray:
    """(1, width * A, H, W) -> (H * W * A, width)"""
    return maps.transpose(0, 2, 3, 1).reshape(-1, width)
