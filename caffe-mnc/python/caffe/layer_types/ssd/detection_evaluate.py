"""DetectionEvaluate: which detections are right; the solver makes average precisions of it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, Layer, exactly
from caffe.layer_types.batches import naming
from caffe.layer_types.ssd.boxes import overlaps
from caffe.layer_types.ssd.output_boxes import read_name_sizes, to_pixels

Rows = list[list[float]]


@LAYERS.register("DetectionEvaluate")
class DetectionEvaluate(Layer):
    """top: (1, 1, R, 5): rows -1, class, objects, -1, -1; then image, class, score, tp, fp

    bottom: detections (1, 1, K, 7), truth (1, 1, G, 8), read up to the first row of image -1.
    A detection belongs to the object of its class it overlaps most: right if by overlap_threshold
    at least and first there; neither right nor wrong for a difficult object, unless
    evaluate_difficult_gt. name_size_file: overlaps are measured in pixels of the images it lists.
    """

    num_bottom = exactly(2)
    num_top = exactly(1)
    no_gradient = (0, 1)

    def setup(self, bottom, top):
        self.options = options = self.param.detection_evaluate_param
        if not options.num_classes:
            raise LayerError(f"{self.title}: detection_evaluate_param.num_classes is missing")
        if options.overlap_threshold <= 0:
            raise LayerError(f"{self.title}: overlap_threshold must be above 0, got "
                             f"{options.overlap_threshold:g}")
        self.classes = [c for c in range(options.num_classes) if c != options.background_label_id]
        self.resize = options.resize_param if options.HasField("resize_param") else None
        self.sizes, self._seen = [], 0
        if options.name_size_file:
            with naming(self):
                self.sizes = [size for _, size in read_name_sizes(options.name_size_file)]

    def reshape(self, bottom, top):
        for blob, width, what in zip(bottom, (7, 8), ("detections", "truth")):
            if math.prod(blob.shape) % width:
                raise LayerError(f"{self.title}: {what} must be (1, 1, K, {width}), got "
                                 f"{blob.shape}")
        top[0].reshape(1, 1, len(self.classes) + bottom[0].count // 7, 5)

    def forward(self, bottom, top):
        found = bottom[0].tensor.reshape(-1, 7).cpu()
        found = found[(found[:, 0] >= 0) & (found[:, 1] >= 0)]
        truth = bottom[1].tensor.reshape(-1, 8).cpu()
        truth = truth[(truth[:, 0] == -1).cumsum(0) == 0]
        for rows, what in ((found, "a detection"), (truth, "an object")):
            if (rows[:, 1] == self.options.background_label_id).any():
                raise LayerError(f"{self.title}: {what} has the label of the background, "
                                 f"{self.options.background_label_id}")
        counted = truth if self.options.evaluate_difficult_gt else truth[truth[:, 7] == 0]
        rows = [[-1, c, int((counted[:, 1] == c).sum()), -1, -1] for c in self.classes]
        for image in found[:, 0].unique().tolist():
            for label in found[found[:, 0] == image, 1].unique().tolist():
                rows += self._judge(*((x[(x[:, 0] == image) & (x[:, 1] == label)])
                                      for x in (found, truth)))
        self._advance(bottom)
        top[0].tensor = torch.tensor(rows, dtype=self.dtype,
                                     device=self.device).reshape(1, 1, -1, 5)

    def _judge(self, found: Tensor, truth: Tensor) -> Rows:
        """Rows of the detections of one class in one image."""
        if not len(truth):
            return [[*row[:3], 0, 1] for row in found.tolist()]
        found = found[found[:, 2].sort(descending=True, stable=True).indices]
        shares = self._overlaps(found[:, 3:], truth[:, 3:7], int(found[0, 0]))
        ignored = (truth[:, 7] != 0) & (not self.options.evaluate_difficult_gt)
        taken, rows = set(), []
        for row, (share, own) in zip(found.tolist(), zip(*shares.max(1))):
            own, hit = int(own), float(share) >= self.options.overlap_threshold
            if hit and ignored[own]:
                rows.append([*row[:3], 0, 0])
                continue
            right = hit and own not in taken
            taken.update([own] if right else [])
            rows.append([*row[:3], int(right), int(not right)])
        return rows

    def _overlaps(self, found: Tensor, truth: Tensor, image: int) -> Tensor:
        if not self.sizes:
            return overlaps(found, truth)
        size = self.sizes[(self._seen + image) % len(self.sizes)]
        a, b = (torch.from_numpy(to_pixels(x.numpy(), size, self.resize)) for x in (found, truth))
        return overlaps(a, b, offset=1)

    def _advance(self, bottom) -> None:
        """To the sizes of the next batch: this one had as many images as rows speak of."""
        images = [-1, *(int(n) for blob, width in zip(bottom, (7, 8))
                        for n in blob.tensor.reshape(-1, width)[:, 0].tolist())]
        self._seen += max(images) + 1

    def backward(self, top, propagate_down, bottom):
        if any(propagate_down):
            raise LayerError(f"{self.title} has no gradient; set propagate_down: false for its "
                             f"bottoms")
