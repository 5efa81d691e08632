"""StageBridgeLayer: the RoIs of stage 4, made of those of stage 2 and the box deltas of stage 3."""

from __future__ import annotations

import numpy as np

import caffe
from caffe.extend import LayerError
from mnc.boxes import on_device
from mnc.boxes.regression import bounded_growth
from mnc.config import cfg
from mnc.sampling.proposal_targets import GroundTruth
from mnc.sampling.stage_bridge import Bridge, bridge_gradient, bridge_targets, move_rois
from pylayer.adapter import (
    image_info,
    no_gradient,
    read,
    read_diff,
    read_options,
    stays_on_device,
    write,
    write_diff,
)
from pylayer.proposal_target_layer import target_arrays
from pylayer.settings import NetSettings, TrainSettings
from pylayer.tensor_forms import BridgeForm


class StageBridgeLayer(caffe.Layer):
    """rois_ext = rois moved by the deltas of their best class; in training with the truth's boxes

    bottom: rois (R, 5); bbox_pred (R, 4K); seg_cls_prob (R, K); then
            TRAIN gt_boxes (G, 5); gt_masks (G, h, w); im_info (1, 3); mask_info (G, 2)
            TEST  im_info (1, 3)
    top:    TRAIN rois_ext (M, 5), foreground first; labels (M,); mask_targets, mask_weight
                  (M, 1, S, S); gt_masks_info (M, 12); bbox_targets, inside and outside weights
                  (M, 4K)
            TEST  rois_ext (R, 5)
    Training never takes class 0; testing may (cfg.COMPAT.BRIDGE_TEST_CLASS). Training applies the
    deltas as predicted, that is normalised, unless cfg.COMPAT.BRIDGE_DELTAS is exact. Gradient to
    the rois and to the deltas taken, in the form of cfg.COMPAT.BRIDGE_GRADIENT; that of the deltas
    is limited to +-1/clip_base if use_clip.
    """

    def setup(self, bottom: list, top: list) -> None:
        options = read_options(self, feat_stride=16, use_clip=0, clip_base=64, num_classes=None)
        self.trains = len(top) > 1
        if (len(bottom), len(top)) not in ((7, 8), (4, 1)):
            raise LayerError(f"{self.title} takes 7 bottoms for 8 tops (training) or 4 for 1 "
                             f"(testing), got {len(bottom)} for {len(top)}")
        self.num_classes = options.num_classes or bottom[2].shape[1]
        self.limit = 1 / options.clip_base if options.use_clip else None
        net = NetSettings.of(cfg, self.phase)
        self.foreground_only = self.trains or net.foreground_only
        self.exact, self.mask_size = net.exact_bridge, net.mask.size
        self.denormalization = None
        self.most_growth = np.array([net.most_growth] * 2)      # in the units of bbox_pred
        if self.trains:
            train = TrainSettings.of(cfg)
            self.denormalization = train.normalization if net.true_deltas else None
            if self.denormalization is not None:
                self.most_growth = ((self.most_growth - self.denormalization.means[2:])
                                    / self.denormalization.stds[2:])
            self.form, self.fg_overlap = train.target_form(self.num_classes), train.box_overlap
        self._reshape_tops(top)

    def reshape(self, bottom: list, top: list) -> None:
        k = self.num_classes
        if bottom[1].shape[1:] != (4 * k,) or bottom[2].shape[1:] != (k,):
            raise LayerError(f"{self.title}: {k} classes need bbox_pred (R, {4 * k}) and "
                             f"seg_cls_prob (R, {k}), got {bottom[1].shape} and {bottom[2].shape}")

    def forward(self, bottom: list, top: list) -> None:
        self.image_size, scale = image_info(self, bottom[5 if self.trains else 3])
        if stays_on_device(self, bottom):
            self.bridge = None      # backward, should it come, makes it
            rois, deltas, scores = (blob.tensor for blob in bottom[:3])
            deltas = on_device.bounded_growth(deltas, float(self.most_growth[0]))
            top[0].tensor = on_device.move_rois(rois, deltas, scores, self.image_size,
                                                self.foreground_only)
            return
        self.bridge = self._bridge(bottom)
        self.keep = np.arange(len(self.bridge.rois))
        if not self.trains:
            write(top[0], self.bridge.rois)
            return
        truth = GroundTruth(read(bottom[3]), read(bottom[4]), read(bottom[6]), scale)
        targets = bridge_targets(self.bridge, truth, self.image_size, self.form, self.fg_overlap)
        self.keep = targets.keep
        rois, labels, *boxes, mask_targets, mask_weight, info = target_arrays(targets)
        for blob, array in zip(top, (rois, labels, mask_targets, mask_weight, info, *boxes)):
            write(blob, array)

    def tensor_form(self) -> BridgeForm | None:
        """The moved RoIs of a test net."""
        return None if self.trains else BridgeForm(float(self.most_growth[0]),
                                                   self.foreground_only)

    def backward(self, top: list, propagate_down: list, bottom: list) -> None:
        no_gradient(bottom, propagate_down)
        if not any(propagate_down[:2]):
            return
        if self.bridge is None:
            self.bridge = self._bridge(bottom)
            self.keep = np.arange(len(self.bridge.rois))
        rois, count = read(bottom[0]), len(self.bridge.rois)
        rows = np.where(self.keep < count)[0]                 # not the ground truth's own
        grad = np.zeros_like(rois)
        grad[self.keep[rows]] = read_diff(top[0])[rows]
        of_rois, of_deltas = bridge_gradient(self.bridge, rois, grad, self.image_size, self.exact)
        if propagate_down[0]:
            write_diff(bottom[0], of_rois)
        if propagate_down[1]:
            write_diff(bottom[1], self._of_bbox_pred(of_deltas))

    def _bridge(self, bottom: list) -> Bridge:
        deltas = bounded_growth(read(bottom[1]), self.most_growth)
        return move_rois(read(bottom[0]), deltas, read(bottom[2]), self.image_size,
                         self.foreground_only, self.denormalization)

    def _of_bbox_pred(self, of_deltas: np.ndarray) -> np.ndarray:
        """(R, 4) of the applied deltas -> (R, 4K) of the prediction."""
        if self.denormalization is not None:
            of_deltas = of_deltas * self.denormalization.stds
        if self.limit is not None:
            of_deltas = np.clip(of_deltas, -self.limit, self.limit)
        result = np.zeros((len(of_deltas), self.num_classes, 4))
        assert self.bridge is not None
        result[np.arange(len(of_deltas)), self.bridge.classes] = of_deltas
        return result.reshape(len(of_deltas), 4 * self.num_classes)

    def _reshape_tops(self, top: list) -> None:
        k, s = 4 * self.num_classes, self.mask_size
        shapes = [(1, 5), (1,), (1, 1, s, s), (1, 1, s, s), (1, 12), (1, k), (1, k), (1, k)]
        for blob, shape in zip(top, shapes):
            blob.reshape(*shape)
