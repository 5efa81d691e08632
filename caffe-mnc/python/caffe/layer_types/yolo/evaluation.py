"""EvalDetection: which predictions of a YOLO net are right, v1 and v2."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, Layer, at_least, exactly
from caffe.layer_types.yolo.boxes import TRUTH, by_anchor, decode, overlaps, suppress, truths

LEAST_SCORE = 0.005     # of what YOLOv2's version looks at, after suppression


@LAYERS.register("EvalDetection")
class EvalDetection(Layer):
    """top: (N, num_class + 4 P): objects of each class, then label, score, tp, fp of predictions

    bottom: predictions, labels, [more, which are not read]. Where labels are (N, 7 side^2), YOLOv1
    (yeahkun/caffe-yolo): predictions (N, side^2 (num_class + 5 num_object)): for each cell the
    classes, then objectness and boxes of each object; labels: difficult, whether an object is
    there, its class, its box. Else YOLOv2 with `biases` (caffe-yolov2). With nms >= 0 predictions
    are suppressed, all classes together. A prediction is right if it overlaps the object of its
    class it overlaps most by `threshold` at least and first; a difficult object counts nothing.
    """

    num_bottom = at_least(2)
    num_top = exactly(1)

    def setup(self, bottom, top):
        self.options = options = self.param.eval_detection_param
        self.places = options.side ** 2
        self.first = math.prod(bottom[1].shape[1:]) == 7 * self.places
        if not self.first and len(options.biases) < 2 * options.num_object:
            raise LayerError(f"{self.title}: num_object {options.num_object} needs "
                             f"{2 * options.num_object} biases, got {len(options.biases)}")
        self.anchors = torch.tensor(list(options.biases)[:2 * options.num_object],
                                    dtype=self.dtype, device=self.device).reshape(-1, 2)

    def reshape(self, bottom, top):
        options = self.options
        each = options.num_class + 5 * options.num_object if self.first \
            else options.num_object * (5 + options.num_class)
        have = math.prod(bottom[0].shape[1:])
        if have != self.places * each or math.prod(bottom[1].shape[1:]) % (
                self.places if self.first else TRUTH):
            raise LayerError(f"{self.title}: side {options.side} needs {self.places * each} "
                             f"predictions an image, got bottoms of shape {bottom[0].shape} and "
                             f"{bottom[1].shape}")
        top[0].reshape(bottom[0].shape[0],
                       options.num_class + 4 * self.places * options.num_object)

    def forward(self, bottom, top):
        predictions, images = bottom[0].tensor.cpu(), bottom[0].shape[0]
        labels = bottom[1].tensor.cpu()
        result = torch.zeros(top[0].shape, dtype=self.dtype)
        for image in range(images):
            found = self._first(predictions[image]) if self.first \
                else self._second(predictions[image:image + 1])
            objects = self._grid_objects(labels[image]) if self.first \
                else self._listed_objects(labels[image])
            self._judge(result[image], found, objects)
        top[0].tensor = result.to(self.device)

    def _score(self, objectness: Tensor, best: Tensor) -> Tensor:
        o = self.options
        return {o.OBJ: objectness, o.PROB: best, o.MULTIPLY: objectness * best}[o.score_type]

    def _first(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Labels (P,), scores (P,), boxes (P, 4) of YOLOv1's predictions of an image"""
        o, cells = self.options, self.places
        x = x.reshape(-1)
        best, label = x[:o.num_class * cells].reshape(o.num_class, cells).max(0)
        rest = x[o.num_class * cells:]
        objectness = rest[:o.num_object * cells].reshape(o.num_object, cells)
        boxes = rest[o.num_object * cells:].reshape(o.num_object, 4, cells).clone()
        if o.constriant:
            place = torch.arange(cells)
            boxes[:, 0] = (boxes[:, 0] + place % o.side) / o.side
            boxes[:, 1] = (boxes[:, 1] + place // o.side) / o.side
        if o.sqrt:
            boxes[:, 2:] = boxes[:, 2:].square()
        labels = label.expand_as(objectness)
        return labels.T.reshape(-1), self._score(objectness, best).T.reshape(-1), \
            boxes.permute(2, 0, 1).reshape(-1, 4)

    def _second(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same of YOLOv2's, (1, A * (5 + classes), side, side)"""
        o = self.options
        parted = by_anchor(x.reshape(1, -1, o.side, o.side), o.num_object)
        boxes = decode(parted[:, :, :2].sigmoid(), parted[:, :, 2:4], self.anchors.cpu())
        best, label = parted[:, :, 5:].softmax(2).max(2)
        score = self._score(parted[:, :, 4].sigmoid(), best)
        order = (0, 2, 3, 1)            # cell by cell
        return label.permute(order).reshape(-1), score.permute(order).reshape(-1), \
            boxes.permute(0, 3, 4, 1, 2).reshape(-1, 4)

    def _grid_objects(self, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Classes (T,), boxes (T, 4), difficult (T,) of YOLOv1's labels of an image"""
        planes = labels.reshape(7, -1) if labels.numel() == 7 * self.places else labels
        difficult, there, label = planes[0], planes[1] != 0, planes[2].long()
        boxes = labels.reshape(-1)[3 * self.places:].reshape(-1, 4)
        return label[there], boxes[there], difficult[there] == 1

    def _listed_objects(self, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (truth,) = truths(labels[None], 1)
        return truth.labels, truth.boxes, torch.zeros(len(truth.labels), dtype=torch.bool)

    def _judge(self, row: Tensor, found: tuple, objects: tuple) -> None:
        """Write the row of an image."""
        (labels, scores, boxes), (classes, truth, difficult) = found, objects
        count = self.options.num_class
        row[:count] = torch.bincount(classes[~difficult], minlength=count)[:count]
        if self.options.nms >= 0:
            kept = suppress(boxes, scores, self.options.nms)
            if not self.first:
                kept = kept[scores[kept] >= LEAST_SCORE]
        else:
            kept = scores.sort(descending=True, stable=True).indices
        kept = kept[labels[kept].sort(stable=True).indices]
        shares = overlaps(boxes[kept], truth)
        taken: set[int] = set()
        for i, (label, score) in enumerate(zip(labels[kept].tolist(), scores[kept].tolist())):
            own = (classes == label).nonzero()[:, 0]
            right, wrong = 0, 1
            if len(own):
                share, place = shares[i, own].max(0)
                best = int(own[place])
                if share >= self.options.threshold:
                    right, wrong = (0, 1) if best in taken else (1, 0)
                    if difficult[best]:
                        right = wrong = 0
                    else:
                        taken.add(best)
            row[count + 4 * i:count + 4 * i + 4] = torch.tensor([label, score, right, wrong])

    def backward(self, top, propagate_down, bottom):
        pass
