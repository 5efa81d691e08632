"""Online hard example mining of R-FCN: the loss of each RoI, and which RoIs learn from it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, TorchLayer, exactly
from caffe.layer_types.loss import SoftmaxWithLoss


@LAYERS.register("SoftmaxWithLossOHEM")
class SoftmaxWithLossOHEM(SoftmaxWithLoss):
    """SoftmaxWithLoss; top 1: softmax(x), top 2: the loss of each label (R-FCN)"""


@LAYERS.register("BoxAnnotatorOHEM")
class BoxAnnotatorOHEM(TorchLayer):
    """Labels and box weights of the roi_per_img RoIs of each image with the largest loss (R-FCN)

    bottom: rois (R, 5, ...), loss, labels (R, 1, ...), box weights (R, K, ...), a value or row for
    each of R x inner positions; top: labels, box weights, with ignore_label and 0 for the others.
    """

    num_bottom = exactly(4)
    num_top = exactly(2)
    no_gradient = (0, 1, 2, 3)

    def setup(self, bottom, top):
        self.most = self.param.box_annotator_ohem_param.roi_per_img
        if not self.most:
            raise LayerError(f"{self.title}: box_annotator_ohem_param.roi_per_img is missing or 0")

    def check(self, *shapes):
        rois, loss, labels, weights = shapes
        inner = math.prod(rois[2:])
        if len(rois) < 2 or rois[1] != 5 or math.prod(loss) != rois[0] * inner \
                or math.prod(labels) != rois[0] * inner or len(weights) < 2 \
                or weights[:1] != rois[:1] or math.prod(weights[2:]) != inner:
            raise LayerError(f"{self.title}: bottoms must be rois (R, 5), loss (R, 1), labels "
                             f"(R, 1) and box weights (R, K), got {', '.join(map(str, shapes))}")

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [shapes[2], shapes[3]]

    def compute(self, rois: Tensor, loss: Tensor, labels: Tensor,
                weights: Tensor) -> tuple[Tensor, Tensor]:
        inner = math.prod(rois.shape[2:])
        image = rois.detach().reshape(len(rois), 5, inner)[:, 0].flatten()
        order = loss.detach().flatten().sort(descending=True, stable=True).indices
        grouped = order[image[order].sort(stable=True).indices]     # by image, then by loss
        first = torch.searchsorted(image[grouped].contiguous(), image[grouped].contiguous())
        rank = torch.arange(len(order), device=loss.device) - first
        kept = torch.zeros_like(image, dtype=torch.bool)
        kept[grouped] = rank < self.most
        ignore = self.param.box_annotator_ohem_param.ignore_label
        chosen = torch.where(kept.reshape(labels.shape), labels.detach(), ignore)
        mask = kept.reshape(len(rois), 1, inner)
        flat = weights.detach().reshape(len(rois), -1, inner) if len(rois) else weights.detach()
        return chosen, (flat * mask).reshape(weights.shape) if len(rois) else flat
