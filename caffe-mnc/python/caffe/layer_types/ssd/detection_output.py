"""DetectionOutput: from codes and probabilities to boxes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from caffe.engine import log
from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, Layer, between, exactly
from caffe.layer_types.batches import naming
from caffe.layer_types.ssd.boxes import decode, suppress, unpack_priors
from caffe.layer_types.ssd.detection_files import DetectionFiles


@LAYERS.register("DetectionOutput")
class DetectionOutput(Layer):
    """top: (1, 1, K, 7) rows image, label, score, xmin, ymin, xmax, ymax, in shares of the image

    bottom: codes (N, 4P, or 4P num_classes unless share_location), probabilities
    (N, P num_classes), priors (1, 2, 4P). Of each class but the background: scores above
    confidence_threshold, the nms_param.top_k best of them, suppression; then keep_top_k an image.
    Rows by image, label, falling score; boxes may reach beyond the image unless `clip`. If no image
    has any: a row of the image and six -1 each.
    save_output_param writes files for VOC, COCO or ILSVRC.
    """

    num_bottom = between(3, 4)
    num_top = exactly(1)
    no_gradient = (0, 1, 2, 3)

    def setup(self, bottom, top):
        options = self.param.detection_output_param
        self.classes, nms = options.num_classes, options.nms_param
        if not self.classes:
            raise LayerError(f"{self.title}: detection_output_param.num_classes is missing")
        if nms.nms_threshold < 0 or not 0 < nms.eta <= 1:
            raise LayerError(f"{self.title}: nms_param takes nms_threshold >= 0 and eta of (0, 1], "
                             f"got {nms.nms_threshold:g} and {nms.eta:g}")
        self.least = options.confidence_threshold if options.HasField("confidence_threshold") \
            else -torch.finfo(torch.float32).max
        self.top_k = nms.top_k if nms.HasField("top_k") else -1
        if options.visualize:
            log.warning("%s: visualize has no effect; save_output_param writes files", self.title)
        self.files = self._files(options)

    def _files(self, options) -> DetectionFiles | None:
        save = options.save_output_param
        if not all((save.output_directory, save.label_map_file, save.name_size_file)):
            return None
        with naming(self):
            return DetectionFiles(save, options.background_label_id)

    def reshape(self, bottom, top):
        codes, scores, prior = (blob.shape for blob in bottom[:3])
        count = prior[2] // 4 if len(prior) >= 3 else 0
        each = 1 if self.param.detection_output_param.share_location else self.classes
        wanted = (count * 4 * each, count * self.classes, count * 8)
        if wanted != (math.prod(codes[1:]), math.prod(scores[1:]), math.prod(prior)):
            raise LayerError(f"{self.title}: {count} priors and {self.classes} classes need codes "
                             f"(N, {wanted[0]}), probabilities (N, {wanted[1]}) and priors "
                             f"(1, 2, {count * 4}); got {codes}, {scores} and {prior}")
        top[0].reshape(1, 1, 1, 7)

    def forward(self, bottom, top):
        options = self.param.detection_output_param
        priors, variances = unpack_priors(bottom[2].tensor)
        codes = bottom[0].tensor.reshape(bottom[0].shape[0], len(priors), -1, 4).transpose(1, 2)
        boxes = decode(options.code_type, priors,
                       1.0 if options.variance_encoded_in_target else variances, codes).cpu()
        boxes = boxes.clamp(0, 1) if options.clip else boxes
        scores = bottom[1].tensor.reshape(len(boxes), len(priors), self.classes).cpu()
        found = [self._of_image(*pair) for pair in zip(boxes, scores)]
        if self.files:
            with naming(self):
                for rows in found:
                    self.files.add_image(rows.float().numpy())
        top[0].tensor = _numbered(found).reshape(1, 1, -1, 7).to(self.device, self.dtype)

    def _of_image(self, boxes: Tensor, scores: Tensor) -> Tensor:
        """boxes (1 or C, P, 4), scores (P, C) -> rows (K, 6): label, score, box"""
        options = self.param.detection_output_param
        rows = [scores.new_zeros(0, 6)]
        for label in range(self.classes):
            if label != options.background_label_id:
                rows.append(self._of_class(label, boxes[label if len(boxes) > 1 else 0],
                                           scores[:, label]))
        found = torch.cat(rows)
        if -1 < options.keep_top_k < len(found):
            best = found[:, 1].sort(descending=True, stable=True).indices[:options.keep_top_k]
            found = found[best.sort().values]
        return found

    def _of_class(self, label: int, boxes: Tensor, scores: Tensor) -> Tensor:
        nms = self.param.detection_output_param.nms_param
        above = (scores > self.least).nonzero().flatten()
        order = above[scores[above].sort(descending=True, stable=True).indices]
        order = order[:self.top_k] if self.top_k >= 0 else order
        order = order[suppress(boxes[order], scores[order], nms.nms_threshold, nms.eta)]
        return torch.cat((torch.full_like(scores[order], label)[:, None], scores[order][:, None],
                          boxes[order]), 1)

    def backward(self, top, propagate_down, bottom):
        if any(propagate_down):
            raise LayerError(f"{self.title} has no gradient; set propagate_down: false for its "
                             f"bottoms")


def _numbered(found: list[Tensor]) -> Tensor:
    """Rows (K, 6) of each image with its number in front; never none at all."""
    if not any(map(len, found)):
        found = [torch.full((1, 6), -1.0)] * len(found)
    return torch.cat([torch.cat((torch.full_like(rows[:, :1], i), rows), 1)
                      for i, rows in enumerate(found)])
