"""What YOLO finds: YoloDetectionOutput (v2) and Yolov3DetectionOutput."""

from __future__ import annotations

import torch
from torch import Tensor

from caffe import ops
from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, Layer, at_least, exactly
from caffe.layer_types.rows import never_none
from caffe.layer_types.yolo.boxes import by_anchor, corners, decode, suppress


class YoloOutput(Layer):
    """top: (1, 1, K, 7): image, label, score, xmin, ymin, xmax, ymax; best score of an image first

    bottom: predictions of each scale, (N, A * (5 + classes), H, W). Labels count from 1; corners
    are shares of the image and may lie outside. An image without detections has no row; if none
    has any, each has one: its number and six times -1. All classes are suppressed together. (The
    original has one list for all images of a batch.)
    """

    num_bottom = at_least(1)
    num_top = exactly(1)

    channels: int           # of each bottom; setup of a version sets these three
    boxes: int              # of a cell
    nms_threshold: float

    def predicted(self, which: int, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of a scale, all of it: boxes (N, P, 4), labels (N, P), scores (N, P), -inf for none"""
        raise NotImplementedError

    def found(self, which: int, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Images (P,), boxes (P, 4), labels (P,), scores (P,) that a scale predicts"""
        boxes, labels, scores = self.predicted(which, x)
        at = (scores > -torch.inf).nonzero(as_tuple=True)
        return at[0], boxes[at], labels[at], scores[at]

    def reshape(self, bottom, top):
        for blob in bottom:
            if len(blob.shape) != 4 or blob.shape[1] != self.channels:
                raise LayerError(f"{self.title}: bottoms must be (N, {self.channels}, H, W), got "
                                 f"{blob.shape}")
        top[0].reshape(1, 1, 1, 7)

    def forward(self, bottom, top):
        images = bottom[0].shape[0]
        parts = [self.found(i, by_anchor(blob.tensor, self.boxes))
                 for i, blob in enumerate(bottom)]
        number, boxes, labels, scores = (torch.cat(values) for values in zip(*parts))
        rows = []
        for image in range(images):
            own = number == image
            kept = suppress(boxes[own], scores[own], self.nms_threshold)
            columns = (torch.full_like(scores[own], image), labels[own] + 1.0, scores[own])
            rows.append(torch.cat((torch.stack(columns, 1), corners(boxes[own])), 1)[kept])
        found = torch.cat(rows) if rows else boxes.new_zeros(0, 7)
        if not len(found):
            found = boxes.new_full((images, 7), -1)
            found[:, 0] = torch.arange(images)
        top[0].tensor = found.to(self.dtype)[None, None]

    def tensor_form(self):
        return self._of_tensors

    def _of_tensors(self, *bottoms: Tensor) -> tuple[Tensor]:
        """The top as `forward` makes it, with every prediction until suppression."""
        images = bottoms[0].shape[0]
        parts = [self.predicted(i, by_anchor(x, self.boxes)) for i, x in enumerate(bottoms)]
        boxes, labels, scores = (torch.cat(values, 1) for values in zip(*parts))    # (N, P, ...)
        order = scores.sort(dim=1, descending=True, stable=True).indices
        boxes = corners(boxes).gather(1, order[..., None].expand(-1, -1, 4))
        labels, scores = labels.gather(1, order), scores.gather(1, order)
        kept = ops.nms_of_lists(boxes, scores, self.nms_threshold, True, 0)
        at = (kept[:, 0], kept[:, 1])
        columns = (kept[:, 0].to(boxes.dtype), labels[at] + 1.0, scores[at])
        return (never_none(torch.cat((torch.stack(columns, 1), boxes[at]), 1), images)[None, None],)

    def backward(self, top, propagate_down, bottom):
        pass


@LAYERS.register("YoloDetectionOutput")
class YoloDetectionOutput(YoloOutput):
    """top: (1, 1, K, 7): image, label, score, box of what RegionLoss has trained (YOLOv2)

    The class is the best, its score softmax times objectness, confidence_threshold at least. See
    YoloOutput.
    """

    def setup(self, bottom, top):
        options = self.param.yolo_detection_output_param
        self.boxes, self.nms_threshold = options.num_box, options.nms_threshold
        self.least, self.channels = options.confidence_threshold, \
            options.num_box * (5 + options.num_classes)
        if len(options.biases) != 2 * self.boxes:
            raise LayerError(f"{self.title}: num_box {self.boxes} needs {2 * self.boxes} biases, "
                             f"got {len(options.biases)}")
        self.anchors = torch.tensor(list(options.biases), dtype=self.dtype,
                                    device=self.device).reshape(-1, 2)

    def predicted(self, which, x):
        boxes = decode(x[:, :, :2].sigmoid(), x[:, :, 2:4], self.anchors)
        score, label = (x[:, :, 4:5].sigmoid() * x[:, :, 5:].softmax(2)).max(2)
        score = torch.where(score >= self.least, score, -torch.inf)
        return boxes.permute(0, 1, 3, 4, 2).flatten(1, 3), label.flatten(1), score.flatten(1)


@LAYERS.register("Yolov3DetectionOutput")
class Yolov3DetectionOutput(YoloOutput):
    """top: (1, 1, K, 7): image, label, score, box of what Yolov3 has trained (YOLOv3)

    Each class whose sigmoid times objectness is above confidence_threshold is a detection. Bottom
    t has the anchors of its part of `mask`; biases are pixels, anchors_scale pixels a cell.
    gaussian_box: x, y, width and height are followed by their uncertainty each; the score is
    multiplied by 1 less their mean. See YoloOutput.
    """

    def setup(self, bottom, top):
        options = self.param.yolov3_detection_output_param
        self.boxes, self.nms_threshold = options.num_box, options.nms_threshold
        self.least, self.step = options.confidence_threshold, 2 if options.gaussian_box else 1
        self.channels = self.boxes * (1 + 4 * self.step + options.num_classes)
        scales, mask = list(options.anchors_scale), list(options.mask)
        if len(scales) < len(bottom) or len(mask) < len(bottom) * self.boxes \
                or 2 * max(mask) + 1 >= len(options.biases):
            raise LayerError(f"{self.title}: {len(bottom)} bottom(s) with num_box {self.boxes} "
                             f"need as many anchors_scale, {len(bottom) * self.boxes} mask, and "
                             f"biases for each mask; got {len(scales)}, {len(mask)} and "
                             f"{len(options.biases)}")
        anchors = torch.tensor(list(options.biases), dtype=self.dtype, device=self.device)
        each = len(mask) // max(1, options.mask_group_num)
        self.scales, self.anchors = scales, [
            anchors.reshape(-1, 2)[mask[t * each:t * each + self.boxes]]
            for t in range(len(bottom))]

    def predicted(self, which, x):
        numbers, rest = x[:, :, :4 * self.step], x[:, :, 4 * self.step:]
        plain = numbers[:, :, ::self.step]
        boxes = decode(plain[:, :, :2].sigmoid(), plain[:, :, 2:4], self.anchors[which],
                       self.scales[which])
        score = rest[:, :, :1].sigmoid() * rest[:, :, 1:].sigmoid()     # (N, A, classes, H, W)
        if self.step == 2:
            score = score * (1 - numbers[:, :, 1::2].sigmoid().mean(2, keepdim=True))
        score = torch.where(score > self.least, score, -torch.inf)
        boxes = boxes.permute(0, 1, 3, 4, 2)[:, :, None].expand(*score.shape, 4)
        label = torch.arange(score.shape[2], device=x.device)[:, None, None].expand(score.shape)
        return boxes.flatten(1, 4), label.flatten(1), score.flatten(1)
