"""DetectionOutput: from codes and probabilities to boxes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from caffe import ops
from caffe.engine import log
from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, Layer, between, exactly
from caffe.layer_types.batches import naming
from caffe.layer_types.rows import never_none
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

    def tensor_form(self):
        """Without files; nms_param.eta below 1 is no suppression that other programs know."""
        return None if self.files or self.param.detection_output_param.nms_param.eta < 1 \
            else self._of_tensors

    def _of_tensors(self, codes: Tensor, scores: Tensor, prior: Tensor,
                    *_: Tensor) -> tuple[Tensor]:
        """The top as `forward` makes it, by operators of a fixed number of values, but for what
        suppression leaves."""
        options = self.param.detection_output_param
        priors, variances = unpack_priors(prior)
        images, count = codes.shape[0], priors.shape[0]
        boxes = decode(options.code_type, priors,
                       1.0 if options.variance_encoded_in_target else variances,
                       codes.reshape(images, count, -1, 4).transpose(1, 2))      # (N, 1 or C, P, 4)
        boxes = boxes.clamp(0, 1) if options.clip else boxes
        labels = [c for c in range(self.classes) if c != options.background_label_id]
        scores = scores.reshape(images, count, self.classes)[:, :, labels].transpose(1, 2)
        boxes = boxes.expand(-1, self.classes, -1, -1)[:, labels].flatten(0, 1)  # (N L, P, 4)
        scores = torch.where(scores > self.least, scores, -torch.inf).flatten(0, 1)
        order = scores.sort(dim=1, descending=True, stable=True).indices
        order = order[:, :self.top_k] if self.top_k >= 0 else order
        scores = scores.gather(1, order)
        boxes = boxes.gather(1, order[..., None].expand(-1, -1, 4))
        kept = ops.nms_of_lists(boxes, scores, options.nms_param.nms_threshold, False, 0)
        image, label = kept[:, 0] // len(labels), kept[:, 0] % len(labels)
        label = torch.tensor(labels, device=kept.device)[label]
        rows = torch.cat((torch.stack((image.to(boxes.dtype), label.to(boxes.dtype),
                                       scores[kept[:, 0], kept[:, 1]]), 1),
                          boxes[kept[:, 0], kept[:, 1]]), 1)
        if options.keep_top_k > -1:
            rows = rows[_among_best(rows, options.keep_top_k)]
        return (never_none(rows, images)[None, None],)

    def backward(self, top, propagate_down, bottom):
        if any(propagate_down):
            raise LayerError(f"{self.title} has no gradient; set propagate_down: false for its "
                             f"bottoms")


def _among_best(rows: Tensor, most: int) -> Tensor:
    """(K,) bool: rows of which fewer than `most` of the same image come before it, by score."""
    score, place = rows[:, 2], torch.arange(rows.shape[0], device=rows.device)
    better = (score[None] > score[:, None]) | ((score[None] == score[:, None])
                                               & (place[None] < place[:, None]))
    return (better & (rows[None, :, 0] == rows[:, None, 0])).sum(1) < most


def _numbered(found: list[Tensor]) -> Tensor:
    """Rows (K, 6) of each image with its number in front; never none at all."""
    if not any(map(len, found)):
        found = [torch.full((1, 6), -1.0)] * len(found)
    return torch.cat([torch.cat((torch.full_like(rows[:, :1], i), rows), 1)
                      for i, rows in enumerate(found)])
