"""RegionLoss (YOLOv2) and Yolov3: the gradient is a rule, the value the sum of its squares."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, LossLayer, exactly
from caffe.layer_types.gradients import with_gradient_of
from caffe.layer_types.yolo.boxes import (
    TRUTH,
    Truth,
    by_anchor,
    decode,
    generalized_overlap,
    overlaps,
    shape_overlaps,
    truths,
)

WARM_UP = 12800         # images whose boxes RegionLoss draws to their anchors
WARM_UP_SCALE = 0.01
SHORT_LABELS = 30       # objects an image in gklz1982/caffe-yolov2; more: MobileNet-YOLO


class YoloLoss(LossLayer):
    """What both share.

    bottom: predictions (N, A * (5 + classes), H, W): anchor by anchor x, y, width, height, object,
    classes; labels (N, T * 5): class, x, y, width, height in shares, ended by x = 0.
    """

    num_top = exactly(1)
    pure = False            # RegionLoss counts; neither is its own derivative

    def take(self, options, classes: int) -> None:
        """Options that both have. biases: width and height of each anchor."""
        self.options, self.classes, biases = options, classes, list(options.biases)
        if len(biases) < 2 or len(biases) % 2:
            raise LayerError(f"{self.title}: biases must be the width and height of each anchor, "
                             f"got {len(biases)} numbers")
        self.all_anchors = torch.tensor(biases, dtype=self.dtype,
                                        device=self.device).reshape(-1, 2)
        self.anchors = self.all_anchors

    def check(self, *shapes):
        x, labels = shapes
        channels = len(self.anchors) * (5 + self.classes)
        if len(x) != 4 or x[1] != channels or labels[:1] != x[:1] \
                or math.prod(labels[1:]) % TRUTH:
            raise LayerError(f"{self.title}: bottoms must be (N, {channels}, H, W) for "
                             f"{len(self.anchors)} anchors and {self.classes} classes, and "
                             f"(N, 5 T); got {x} and {labels}")

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [()]

    def without_objects(self, scores: Tensor, boxes: Tensor, objects: list[Truth]) -> Tensor:
        """`scores` (N, A, H, W), 0 where the box overlaps an object by more than `thresh`"""
        scores = scores.clone()
        for image, truth in enumerate(objects):
            flat = boxes[image].permute(0, 2, 3, 1).reshape(-1, 4)
            if len(truth.boxes):
                best = overlaps(flat, truth.boxes).amax(1).reshape(scores.shape[1:])
                scores[image][best > self.options.thresh] = 0
        return scores


def cell_of(box: Tensor, grid: tuple[int, int]) -> tuple[int, int]:
    """Column and row of the cell (of width, height `grid`) that the centre of a box lies in"""
    column, row = (min(max(int(c * n), 0), n - 1) for c, n in zip(box[:2].tolist(), grid))
    return column, row


def wanted(box: Tensor, cell: tuple[int, int], grid: tuple[int, int], anchor: Tensor) -> Tensor:
    """(4,): what predictions of a box should be: x and y in the cell, logs of size over anchor's,
    which is in shares of the image."""
    inside = box[:2] * box.new_tensor(grid) - box.new_tensor(cell)
    return torch.cat((inside, (box[2:] / anchor).log()))


@LAYERS.register("RegionLoss")
class RegionLoss(YoloLoss):
    """Squares of the deltas below; their sum over N is the gradient (YOLOv2)

    Objectness p: noobject_scale p, 0 where a box overlaps an object by more than `thresh`, and at
    the cell and anchor of each object object_scale (p - 1), all times p (1 - p). There, too, boxes:
    coord_scale (predicted - wanted), centres times the slope of their sigmoid; classes: class_scale
    (softmax - one-hot). The anchor is the best by shape. For the first 12800 images all boxes are
    drawn to their anchors with weight 0.01. Labels of more than 30 objects an image are
    MobileNet-YOLO's: there the value is divided by N, and with `rescore` p - IoU stands for p - 1.
    """

    def setup(self, bottom, top):
        self.take(self.param.region_loss_param, self.param.region_loss_param.num_class)
        self.anchors = self.all_anchors[:self.options.num]
        self.seen = 0       # forwards, this one too

    def start_run(self, params):
        self.seen += 1

    def compute(self, x: Tensor, labels: Tensor) -> Tensor:
        images = max(1, len(x))
        long_labels = labels.numel() // images > SHORT_LABELS * TRUTH
        deltas = self._deltas(by_anchor(x.detach(), len(self.anchors)), truths(labels, len(x)),
                              long_labels and bool(self.options.rescore)).reshape(x.shape)
        value = deltas.square().sum() / (images if long_labels else 1)
        return with_gradient_of(value, (deltas * x).sum() / images)

    def _deltas(self, x: Tensor, objects: list[Truth], rescore: bool) -> Tensor:
        options = self.options
        offset, score = x[:, :, :2].sigmoid(), x[:, :, 4].sigmoid()
        boxes, deltas = decode(offset, x[:, :, 2:4], self.anchors), torch.zeros_like(x)
        deltas[:, :, 4] = self.without_objects(
            options.noobject_scale * score * score * (1 - score), boxes, objects)
        if self.seen <= WARM_UP // max(1, len(x)):
            deltas[:, :, :2] = WARM_UP_SCALE * (offset - 0.5) * offset * (1 - offset)
            deltas[:, :, 2:4] = WARM_UP_SCALE * x[:, :, 2:4]
        for image, truth in enumerate(objects):
            for label, box in zip(truth.labels.tolist(), truth.boxes):
                self._pull(deltas[image], x[image], boxes[image], label, box, rescore)
        return deltas

    def _pull(self, deltas: Tensor, x: Tensor, boxes: Tensor, label: int, box: Tensor,
              rescore: bool) -> None:
        """Write the deltas (A, F, H, W) of an image where an object lies."""
        options, grid = self.options, (x.shape[3], x.shape[2])
        i, j = cell_of(box, grid)
        shares = self.anchors / self.anchors.new_tensor(grid)
        sizes = shares if options.bias_match else boxes[:, 2:, j, i]
        anchor = int(shape_overlaps(sizes, box[2:]).argmax())
        at = (anchor, slice(None), j, i)
        offset, score = x[at][:2].sigmoid(), x[at][4].sigmoid()
        predicted = torch.cat((offset, x[at][2:4]))
        delta = options.coord_scale * (predicted - wanted(box, (i, j), grid, shares[anchor]))
        delta[:2] *= offset * (1 - offset)
        share = overlaps(boxes[at][None], box[None])[0, 0] if rescore else 1
        classes = x[at][5:].softmax(0)
        classes[label] -= 1
        deltas[at] = torch.cat((
            delta, (options.object_scale * (score - share) * score * (1 - score))[None],
            options.class_scale * classes))


@LAYERS.register("Yolov3")
class Yolov3(YoloLoss):
    """Squares of the deltas below over N; their sum over N is the gradient (YOLOv3, MobileNet-YOLO)

    Objectness p (all but width and height are sigmoids): p, 0 where a box overlaps an object by
    more than `thresh`, and p - 1 at the cell of each object whose best anchor of all `biases`, by
    shape, is in `mask`. There, too, boxes: coord_scale (2 - width height) (predicted - wanted), or
    with iou_loss iou_normalizer times the slope of 1 - IoU (GIoU), at most max_delta; classes:
    class_scale (p - one-hot). use_logic_gradient: p - 1 times object_scale, and the gradient, not
    the value, has all sigmoids times their slope. A cell's second object only adds its class.
    """

    def setup(self, bottom, top):
        options = self.param.yolov3_param
        self.take(options, options.num_class)
        self.mask = list(options.mask)
        if len(self.mask) != options.num or max(self.mask, default=0) >= len(self.all_anchors):
            raise LayerError(f"{self.title}: mask must name num = {options.num} of the "
                             f"{len(self.all_anchors)} anchors of biases, got {self.mask}")
        if options.iou_loss not in (options.MSE, options.IOU, options.GIOU):
            raise LayerError(f"{self.title}: iou_loss can be MSE, IOU or GIOU here")
        self.anchors = self.all_anchors[self.mask]

    def compute(self, x: Tensor, labels: Tensor) -> Tensor:
        images = max(1, len(x))
        parted = by_anchor(x.detach(), len(self.anchors))
        active = parted.sigmoid()
        active[:, :, 2:4] = parted[:, :, 2:4]
        deltas = self._deltas(active, truths(labels, len(x)))
        value = deltas.square().sum() / images
        if self.options.use_logic_gradient:
            slope = active * (1 - active)
            slope[:, :, 2:4] = 1
            deltas = deltas * slope
        return with_gradient_of(value, (deltas.reshape(x.shape) * x).sum() / images)

    def _deltas(self, x: Tensor, objects: list[Truth]) -> Tensor:
        deltas, unit = torch.zeros_like(x), self.options.anchors_scale
        boxes = decode(x[:, :, :2], x[:, :, 2:4], self.anchors, unit)
        deltas[:, :, 4] = self.without_objects(x[:, :, 4], boxes, objects)
        for image, truth in enumerate(objects):
            for label, box in zip(truth.labels.tolist(), truth.boxes):
                self._pull(deltas[image], x[image], label, box)
        return deltas

    def _pull(self, deltas: Tensor, x: Tensor, label: int, box: Tensor) -> None:
        """Write the deltas (A, F, H, W) of an image where an object lies."""
        options, grid = self.options, (x.shape[3], x.shape[2])
        sizes = self.all_anchors / self.all_anchors.new_tensor(grid) / options.anchors_scale
        best = int(shape_overlaps(sizes, box[2:]).argmax())
        if best not in self.mask:
            return
        i, j = cell_of(box, grid)
        at = (self.mask.index(best), slice(None), j, i)
        score, classes = x[at][4] - 1, x[at][5:].clone()
        if deltas[at][5]:
            deltas[at][5 + label] = classes[label] - 1
            classes = deltas[at][5:].clone()
        else:
            classes[label] -= 1
            classes *= options.class_scale
        scale = options.object_scale if options.use_logic_gradient else 1
        deltas[at] = torch.cat((self._box_delta(x[at][:4], box, (i, j), grid, sizes[best]),
                                (scale * score)[None], classes))

    def _box_delta(self, predicted: Tensor, box: Tensor, cell: tuple[int, int],
                   grid: tuple[int, int], anchor: Tensor) -> Tensor:
        options = self.options
        if options.iou_loss == options.MSE:
            scale = options.coord_scale * (2 - box[2:].prod())
            return scale * (predicted - wanted(box, cell, grid, anchor))
        with torch.enable_grad():
            free = predicted.detach().requires_grad_()
            centre = (free[:2] + free.new_tensor(cell)) / free.new_tensor(grid)
            share = generalized_overlap(torch.cat((centre, free[2:].exp() * anchor)), box,
                                        hull=options.iou_loss == options.GIOU)
            slope, = torch.autograd.grad(-share, free)
        return (options.iou_normalizer * slope).clamp(-options.max_delta, options.max_delta)
