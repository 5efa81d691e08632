"""AnchorTargetLayer: what the region proposal network is trained towards."""

from __future__ import annotations

import numpy as np

import caffe
from caffe.extend import LayerError, at_least, exactly
from mnc.config import cfg
from mnc.sampling.anchor_targets import anchor_targets
from pylayer.adapter import REQUIRED, image_info, no_gradient, read, read_options, write
from pylayer.anchor_grid import AnchorGrid
from pylayer.settings import NetSettings, TrainSettings


class AnchorTargetLayer(caffe.Layer):
    """label, box deltas and weights of every anchor, by its overlap with the ground truth

    bottom: scores (1, 2A, H, W), for their size only; gt_boxes (G, 5); im_info (1, 3); then fg_inds
            and bg_inds, the anchors of the RoIs that the later stages took (or the image, unused);
            of a pyramid (feat_stride a list) then its maps, of which H counts all cells, and W is 1
    top:    labels (1, 1, A*H, W); targets, inside weights, outside weights (1, 4A, H, W)
    No gradient.
    """

    num_bottom = at_least(3)
    num_top = exactly(4)

    def setup(self, bottom: list, top: list) -> None:
        options = read_options(self, feat_stride=REQUIRED, allowed_border=0)
        strides = options.feat_stride
        self.maps = len(bottom) - (len(strides) if isinstance(strides, list) else 0)
        self.anchor_grid = AnchorGrid.of(self, strides, bottom[self.maps:])
        self.border = options.allowed_border
        train = TrainSettings.of(cfg)
        self.cell_anchors = NetSettings.of(cfg, self.phase).anchors
        self.sampling = train.anchors
        self.mixes = train.mixes and self.maps == 5

    def reshape(self, bottom: list, top: list) -> None:
        n, channels, h, w = bottom[0].shape
        count = len(self.cell_anchors)
        if (n, channels) != (1, 2 * count):
            raise LayerError(f"{self.title}: {count} anchors (cfg.ANCHOR_SCALES x "
                             f"cfg.ANCHOR_RATIOS) need scores (1, {2 * count}, H, W), "
                             f"got {bottom[0].shape}")
        self.anchors = self.anchor_grid.anchors(self.cell_anchors, (h, w), bottom[self.maps:])
        top[0].reshape(1, 1, count * h, w)
        for blob in top[1:]:
            blob.reshape(1, 4 * count, h, w)

    def forward(self, bottom: list, top: list) -> None:
        mixed = (read(bottom[3]), read(bottom[4])) if self.mixes else None
        image_size, _ = image_info(self, bottom[2])
        targets = anchor_targets(self.anchors, read(bottom[1]), image_size, self.sampling,
                                 self.border, mixed)
        h, w = bottom[0].shape[2:]
        write(top[0], _maps(targets.labels, h, w).reshape(top[0].shape))
        write(top[1], _maps(targets.bbox_targets, h, w))
        write(top[2], _maps(targets.bbox_inside_weights, h, w))
        write(top[3], _maps(targets.bbox_outside_weights, h, w))

    def backward(self, top: list, propagate_down: list, bottom: list) -> None:
        no_gradient(bottom, propagate_down)


def _maps(rows: np.ndarray, h: int, w: int) -> np.ndarray:
    """(H * W * A, ...) -> (1, A * ..., H, W)"""
    return rows.reshape(1, h, w, -1).transpose(0, 3, 1, 2)
