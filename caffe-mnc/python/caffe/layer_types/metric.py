"""What is reported, not learned: Accuracy, SegAccuracy and ArgMax."""

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
        worse = scores < scores.gather(1, label)        # NaN is not worse, and nothing is than NaN
        at_least_as_good = (~worse).sum(1, keepdim=True)
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


@LAYERS.register("SegAccuracy")
class SegAccuracy(TorchLayer):
    """(1, 1, 1, 3): share of pixels that are right, mean over classes of that, mean IoU (DeepLab)

    bottom: scores (N, K, H, W), labels (N, 1, H, W). The mean share is over classes that occur; a
    class that neither occurs nor is found has the IoU 1. With one channel the classes are x > 0.5
    and the rest. `reset: false` goes on counting from one forward to the next.
    """

    num_bottom = exactly(2)
    num_top = exactly(1)
    no_gradient = (0, 1)
    pure = False            # it may go on counting

    def setup(self, bottom, top):
        self.ignored = list(self.param.seg_accuracy_param.ignore_label)
        self._counted: Tensor | int = 0

    def check(self, *shapes):
        scores, label = shapes
        if len(scores) != 4 or math.prod(label) != scores[0] * math.prod(scores[2:]):
            raise LayerError(f"{self.title}: bottoms must be scores (N, K, H, W) and labels "
                             f"(N, 1, H, W), got {scores} and {label}")

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [(1, 1, 1, 3)]

    def compute(self, x: Tensor, label: Tensor) -> Tensor:
        counts = self._counts(x.detach(), label.flatten().long())
        if not self.param.seg_accuracy_param.reset and not self.replaying:
            counts = self._counted = counts + self._counted
        right, true, found = counts.diagonal(), counts.sum(1), counts.sum(0)
        union = true + found - right
        iou = torch.where(right == union, 1.0, right / union.clamp(min=1))
        mean = (right / true.clamp(min=1)).sum() / (true > 0).sum().clamp(min=1)
        found = torch.stack((_share(right.sum(), counts.sum()), mean, iou.mean()))
        return found.reshape(1, 1, 1, 3)

    def _counts(self, x: Tensor, label: Tensor) -> Tensor:
        """(K, K): pixels of each class (row) found to be each class (column)"""
        classes = max(2, x.shape[1])
        found = (x.argmax(1) if x.shape[1] > 1 else x > 0.5).flatten().long()
        valid = torch.ones_like(label, dtype=torch.bool)
        for ignored in self.ignored:
            valid &= label != ignored
        label, found = label[valid], found[valid]
        if len(label) and not 0 <= int(label.min()) <= int(label.max()) < classes:
            raise LayerError(f"{self.title}: labels are {int(label.min())} to {int(label.max())}, "
                             f"but there are {classes} classes; give ignore_label")
        places = label * classes + found
        return torch.bincount(places, minlength=classes ** 2).reshape(classes, classes).to(x.dtype)


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
        values, places = self._largest(items.flip(axis), axis)
        places = (items.shape[axis] - 1 - places).to(x.dtype)
        if self.axis is not None:
            return values if self.values else places
        both = torch.stack((places, values) if self.values else (places,), 1)   # (N, 1 or 2, k)
        return both.reshape(*both.shape, *[1] * (x.dim() - 3))

    def _largest(self, x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        """The top_k values along an axis and their places; of equal ones the first comes first."""
        if self.top_k == 1 and torch.compiler.is_exporting():       # ONNX sorts by no rule for ties
            places = x.argmax(axis, keepdim=True)
            return x.gather(axis, places), places
        values, places = x.sort(dim=axis, descending=True, stable=True)
        return values.narrow(axis, 0, self.top_k), places.narrow(axis, 0, self.top_k)
