"""ProposalTargetLayer: the RoIs that the later stages are trained on, with their targets."""

from __future__ import annotations

import numpy as np

import caffe
from caffe.extend import LayerError, between
from mnc.config import cfg
from mnc.sampling.proposal_targets import GroundTruth, RoiTargets, proposal_targets
from pylayer.adapter import (
    REQUIRED,
    image_info,
    no_gradient,
    read,
    read_diff,
    read_options,
    write,
    write_diff,
)
from pylayer.settings import TrainSettings


class ProposalTargetLayer(caffe.Layer):
    """rois = a sample of the proposals and the ground-truth boxes; foreground first

    bottom: rpn_rois (P, 5); gt_boxes (G, 5); im_info (1, 3)
            with masks also gt_masks (G, h, w), mask_info (G, 2)
            with mixing also rpn_rois_index (1, P)
    top:    rois (R, 5); labels (R,); bbox_targets, inside weights, outside weights (R, 4K)
            with masks also mask_targets, mask_weight (R, 1, S, S), gt_masks_info (R, 12)
            with mixing also fg_inds, bg_inds: the anchors of the sampled proposals
    Gradient: to the proposals that were sampled, or to the foreground ones only (bp_all: 0).
    """

    num_bottom = between(3, 6)
    num_top = between(5, 10)

    def setup(self, bottom: list, top: list) -> None:
        options = read_options(self, num_classes=REQUIRED, bp_all=1)
        self.num_classes, self.bp_all = options.num_classes, options.bp_all
        self.has_masks, self.mixes = len(top) in (8, 10), len(top) in (7, 10)
        needed = 3 + 2 * self.has_masks + self.mixes
        if len(top) in (6, 9) or len(bottom) < needed:
            raise LayerError(f"{self.title} takes 3 bottoms for 5 tops, 5 for 8 (masks), 4 for 7 "
                             f"(mixing), 6 for 10; got {len(bottom)} for {len(top)}")
        train = TrainSettings.of(cfg)
        self.sampling, self.form = train.rois, train.target_form(self.num_classes)
        for blob, shape in zip(top, self._shapes()):
            blob.reshape(*shape)

    def reshape(self, bottom: list, top: list) -> None:
        """The tops' sizes depend on the proposals: forward sets them."""

    def forward(self, bottom: list, top: list) -> None:
        truth = GroundTruth(read(bottom[1]), im_scale=image_info(self, bottom[2])[1],
                            masks=read(bottom[3]) if self.has_masks else None,
                            sizes=read(bottom[4]) if self.has_masks else None)
        rois = read(bottom[0])
        self.targets = proposal_targets(rois, truth, self.sampling, self.form)
        arrays = target_arrays(self.targets)
        if self.mixes:
            arrays += self._anchor_indices(read(bottom[-1]).ravel(), len(rois))
        for blob, array in zip(top, arrays):
            write(blob, array)

    def backward(self, top: list, propagate_down: list, bottom: list) -> None:
        no_gradient(bottom, propagate_down)
        if not propagate_down[0]:
            return
        keep = self.targets.keep if self.bp_all else self.targets.keep[:self.targets.num_fg]
        rows = np.where(keep < bottom[0].shape[0])[0]         # not the ground truth's own
        diff = np.zeros(bottom[0].shape)
        diff[keep[rows]] = read_diff(top[0])[rows]
        write_diff(bottom[0], diff)

    def _anchor_indices(self, index: np.ndarray, proposals: int) -> list[np.ndarray]:
        fg, bg = np.split(self.targets.keep, [self.targets.num_fg])
        return [index[rows[rows < proposals]] for rows in (fg, bg)]

    def _shapes(self) -> list[tuple[int, ...]]:
        k, s = 4 * self.num_classes, self.form.mask.size
        masks = [(1, 1, s, s), (1, 1, s, s), (1, 12)] if self.has_masks else []
        return [(1, 5), (1,), (1, k), (1, k), (1, k), *masks, (1,), (1,)]


def target_arrays(targets: RoiTargets) -> list[np.ndarray]:
    """rois, labels, box targets and weights; with masks also mask targets, weights and info."""
    boxes = [targets.rois, targets.labels, targets.bbox_targets, targets.bbox_inside_weights,
             targets.bbox_outside_weights]
    masks = targets.masks
    return boxes if masks is None else [*boxes, masks.targets, masks.weight, masks.info]
