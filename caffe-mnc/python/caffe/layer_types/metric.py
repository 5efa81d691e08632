"""What is reported, not learned: Accuracy and ArgMax."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, TorchLayer, between, exactly
from caffe.layer_types.axes import canonical


@LAYERS.register("Accuracy")
class Accuracy(TorchLayer):
    """The share of items whose true class is among the top_k scores; 0 if there are no items

    bottom: scores (outer..., K, inner...), K on `axis`; label: one for each of outer x inner
    top: (); on request (K,), the same for each class by itself
    A class with the same score as the true one counts as better. ignore_label is left out; any
    other label that is no class is never right.
    """

    num_bottom = exactly(2)
    num_top = between(1, 2)
    no_gradient = (0, 1)

    def setup(self, bottom, top):
        options = self.param.accuracy_param
        self.ignore = options.ignore_label if options.HasField("ignore_label") else None
        self.axis = canonical(self, options.axis, len(bottom[0].shape))
        self.top_k, self.by_class = options.top_k, len(top) == 2

    def check(self, *shapes):
        scores, label = shapes
        wanted = math.prod(scores[:self.axis]) * math.prod(scores[self.axis + 1:])
        if math.prod(label) != wanted:
            raise LayerError(f"{self.title}: scores of shape {scores} with classes on axis "
                             f"{self.axis} need {wanted} labels, got shape {label}")
        if self.top_k > scores[self.axis]:
            raise LayerError(f"{self.title}: top_k {self.top_k} exceeds the {scores[self.axis]} "
                             f"classes")

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [(), (shapes[0][self.axis],)][:1 + self.by_class]

    def compute(self, x: Tensor, label: Tensor) -> Tensor | tuple[Tensor, ...]:
        outer, classes = math.prod(x.shape[:self.axis]), x.shape[self.axis]
        inner = math.prod(x.shape[self.axis + 1:])
        label = label.reshape(outer, 1, inner).long()
        scores = x.detach().reshape(outer, classes, inner)
        valid = torch.ones_like(label, dtype=torch.bool) if self.ignore is None \
            else label != self.ignore
        known = valid & (label >= 0) & (label < classes)
        label = torch.where(known, label, 0)
        at_least_as_good = (scores >= scores.gather(1, label)).sum(1, keepdim=True)
        correct = (known & (at_least_as_good <= self.top_k)).to(x.dtype)
        accuracy = _share(correct.sum(), valid.sum())
        if not self.by_class:
            return accuracy
        hits, items = x.new_zeros(classes), x.new_zeros(classes)
        hits.index_add_(0, label.flatten(), correct.flatten())
        items.index_add_(0, label.flatten(), known.to(x.dtype).flatten())
        return accuracy, _share(hits, items)


def _share(part: Tensor, whole: Tensor) -> Tensor:
    return part / whole.clamp(min=1)


@LAYERS.register("ArgMax")
class ArgMax(TorchLayer):
    """The places of the top_k largest values, along `axis` or else over all of each item

    top: with `axis`, the bottom's shape with top_k there: places, or values if out_max_val.
    Without: (N, 1, top_k), or (N, 2, top_k) with values behind places. Of equal values the later
    place comes first.
    """

    num_bottom = exactly(1)
    num_top = exactly(1)
    no_gradient = (0,)

    def setup(self, bottom, top):
        options = self.param.argmax_param
        self.axis = None
        if options.HasField("axis"):
            self.axis = canonical(self, options.axis, len(bottom[0].shape))
        self.top_k, self.values = options.top_k, options.out_max_val

    def check(self, *shapes):
        choices = math.prod(shapes[0][1:]) if self.axis is None else shapes[0][self.axis]
        if not 1 <= self.top_k <= choices:
            raise LayerError(f"{self.title}: top_k {self.top_k} is not in 1 .. {choices} "
                             f"(bottom of shape {shapes[0]})")

    def compute(self, x: Tensor) -> Tensor:
        axis = 1 if self.axis is None else self.axis
        items = x.detach().flatten(1) if self.axis is None else x.detach()
        values, places = items.flip(axis).sort(dim=axis, descending=True, stable=True)
        values = values.narrow(axis, 0, self.top_k)
        places = (items.shape[axis] - 1 - places.narrow(axis, 0, self.top_k)).to(x.dtype)
        if self.axis is not None:
            return values if self.values else places
        both = torch.stack((places, values) if self.values else (places,), 1)   # (N, 1 or 2, k)
        return both.reshape(*both.shape, *[1] * (x.dim() - 3))
