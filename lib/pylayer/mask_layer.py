"""MaskLayer: predicted masks as maps, and the class each is good enough for."""

from __future__ import annotations

from typing import Any

import caffe
from caffe.extend import LayerError, between
from mnc.config import cfg
from mnc.masks.targets import mask_labels
from pylayer.adapter import no_gradient, read, read_diff, write, write_diff
from pylayer.settings import NetSettings, TrainSettings
from pylayer.tensor_forms import MaskForm


class MaskLayer(caffe.Layer):
    """mask_proposal = mask_output, as maps; label = the class of the instance it overlaps, else 0

    bottom: mask_output (R, S*S); in training also gt_masks (G, h, w), gt_masks_info (R, 12)
    top:    mask_proposal (R, 1, S, S); in training also mask_proposal_label (R, 1), -1 where the
            instance has no mask to compare with
    Gradient: of the rows with a label only, or of every row (cfg.COMPAT.MASK_GRADIENT: exact).
    """

    num_bottom = between(1, 3)
    num_top = between(1, 2)

    def setup(self, bottom: list, top: list) -> None:
        if len(bottom) < 3 and len(top) > 1:
            raise LayerError(f"{self.title}: labels need the bottoms gt_masks and gt_masks_info")
        net = NetSettings.of(cfg, self.phase)
        self.form, self.exact = net.mask, net.exact_masks
        self.min_overlap: Any = TrainSettings.of(cfg).mask_overlap if len(top) > 1 else None
        self.labels: Any = None             # (R,), where there are any

    def reshape(self, bottom: list, top: list) -> None:
        rows, size = bottom[0].shape[0], self.form.size
        if bottom[0].count != rows * size * size:
            raise LayerError(f"{self.title}: cfg.MASK_SIZE {size} needs masks of {size * size} "
                             f"values, got {bottom[0].shape}")
        top[0].reshape(rows, 1, size, size)
        if len(top) > 1:
            top[1].reshape(rows, 1)

    def forward(self, bottom: list, top: list) -> None:
        top[0].tensor = bottom[0].tensor.reshape(top[0].shape).clone()
        if len(top) > 1:
            self.labels = mask_labels(read(top[0])[:, 0], read(bottom[1]), read(bottom[2]),
                                      self.form, self.min_overlap)
            write(top[1], self.labels[:, None])

    def tensor_form(self) -> MaskForm | None:
        """Masks as maps; their labels are for training."""
        return None if self.min_overlap is not None else MaskForm(self.form.size)

    def backward(self, top: list, propagate_down: list, bottom: list) -> None:
        no_gradient(bottom, propagate_down)
        if not propagate_down[0]:
            return
        diff = read_diff(top[0]).reshape(bottom[0].shape).copy()
        if self.labels is not None and not self.exact:
            diff[self.labels <= 0] = 0
        write_diff(bottom[0], diff)
