"""Connectionist temporal classification: CTCLoss, WarpCTCLoss, and what a greedy search reads."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, Layer, LossLayer, between, exactly
from caffe.proto import caffe_pb2


def lengths_of(marks: Tensor) -> Tensor:
    """(N,): steps of each sequence from marks (T, N): the first step counts, the next 0 ends it"""
    going = (marks[1:] != 0).to(torch.int64).cumprod(0)
    return 1 + going.sum(0) if len(marks) else marks.new_zeros(marks.shape[1], dtype=torch.int64)


class CtcLoss(LossLayer):
    """What both share: scores before softmax (T, N, C, ...), and a gradient that is a rule."""

    num_top = exactly(1)
    no_gradient = (1, 2, 3)
    pure = False
    default_blank: int      # class of the blank; -1: the last

    def setup(self, bottom, top):
        options = self.param.ctc_loss_param
        if options.output_delay or options.preprocess_collapse_repeated \
                or not options.ctc_merge_repeated:
            raise LayerError(f"{self.title}: output_delay, preprocess_collapse_repeated and "
                             f"ctc_merge_repeated: false are not supported")
        self.exact = options.mode == caffe_pb2.EXACT
        self.blank = blank_of(options, self.default_blank, bottom[0].shape)

    def check(self, *shapes):
        if len(shapes[0]) < 3 or math.prod(shapes[0][3:]) != 1:
            raise LayerError(f"{self.title}: scores must be (T, N, C), got {shapes[0]}")

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [()]

    def costs(self, x: Tensor, lengths: Tensor, labels: list[Tensor]) -> Tensor:
        """(N,): -log p of each list of labels; inf where there is no path"""
        counts = torch.tensor([len(found) for found in labels])
        flat = torch.cat(labels).to(x.device) if labels else counts
        if len(flat) and not 0 <= int(flat.min()) <= int(flat.max()) < x.shape[2]:
            raise LayerError(f"{self.title}: labels are {int(flat.min())} to {int(flat.max())}, "
                             f"but there are {x.shape[2]} classes")
        return F.ctc_loss(F.log_softmax(x, 2), flat, lengths.cpu().long(), counts, self.blank,
                          reduction="none")

    def result(self, x: Tensor, value: Tensor, summed: Tensor, no_path: Tensor) -> Tensor:
        """`value`; its gradient is that of `summed` in the scores x, whatever comes from above,
        and where there is no path the softmax."""
        if not x.requires_grad:
            return value
        gradient, = torch.autograd.grad(summed, x, retain_graph=True)
        gradient = torch.where(no_path[None, :, None], F.softmax(x.detach(), 2), gradient)
        return _Ruled.apply(x, value.detach(), gradient)


class _Ruled(torch.autograd.Function):
    """A value whose gradient is given, not multiplied by what comes from above."""

    @staticmethod
    def forward(ctx, x, value, gradient):
        ctx.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    def backward(ctx, _):
        return *ctx.saved_tensors, None, None


def blank_of(options, default: int, shape: tuple[int, ...]) -> int:
    """The class that stands for nothing; -1 is the last."""
    blank = options.blank_index if options.HasField("blank_index") else default
    return shape[2] - 1 if blank < 0 else blank


@LAYERS.register("CTCLoss")
class CTCLoss(CtcLoss):
    """sum over sequences of -log p(labels) / N; the blank is the last class (TextBoxes++)

    bottom: scores (T, N, C), marks (T, N): 1, 0 behind the last step; labels (T, N), ended by -1.
    Sequences without labels count nothing. mode REFERENCE: the gradient is that of the sum, not
    divided by N and not multiplied by loss_weight.
    """

    num_bottom = exactly(3)
    default_blank = -1

    def compute(self, x: Tensor, marks: Tensor, labels: Tensor) -> Tensor:
        scores = x.flatten(2)
        steps, images = scores.shape[:2]
        rows = labels.detach().reshape(labels.shape[0], -1).T.cpu()
        found = [row[:int((row < 0).int().argmax()) if (row < 0).any() else len(row)].long()
                 for row in rows]
        lengths = lengths_of(marks.detach().reshape(steps, images))
        costs = self.costs(scores, lengths, found)
        counted = torch.tensor([len(each) > 0 for each in found], device=x.device)
        value = torch.where(counted, costs, 0).sum() / max(1, images)
        if self.exact:
            return value
        path = counted & costs.detach().isfinite()
        return self.result(scores, value, torch.where(path, costs, 0).sum(), counted & ~path)


class WarpCTCLoss(CtcLoss):
    """Mean of the finite -log p(labels) of sequences; the blank is class 0 (caffe_ocr)

    bottom: scores (T, N, C); labels (N, L), blanks left out, all T steps count; or marks (T, N)
    and labels (T, N), ended by -1, counted from 0 without the blank; or numbers of steps (N,), of
    labels (N,), and labels (L, N). mode REFERENCE: the gradient is that of the sum, and is not
    multiplied by loss_weight.
    """

    num_bottom = between(2, 4)
    default_blank = 0

    def compute(self, x: Tensor, *rest: Tensor) -> Tensor:
        scores = x.flatten(2)
        lengths, found = self._sequences(scores, *(r.detach().cpu() for r in rest))
        costs = self.costs(scores, lengths, found)
        finite = costs.detach().isfinite()
        summed = torch.where(finite, costs, 0).sum()
        value = summed / finite.sum()
        nothing = torch.zeros_like(finite)
        return value if self.exact else self.result(scores, value, summed, nothing)

    def _sequences(self, scores: Tensor, *rest: Tensor) -> tuple[Tensor, list[Tensor]]:
        steps, images = scores.shape[:2]
        if len(rest) == 1:
            rows = rest[0].reshape(images, -1).long()
            return torch.full((images,), steps), [row[row != self.blank] for row in rows]
        if len(rest) == 2:
            rows = rest[1].reshape(rest[1].shape[0], -1).T
            more = 1 if self.blank == 0 else 0
            found = [row[(row < 0).cumsum(0) == 0].long() + more for row in rows]
            return lengths_of(rest[0].reshape(steps, images)), found
        rows = rest[2].reshape(rest[2].shape[0], -1).T.long()
        counts = rest[1].flatten().long().tolist()
        return rest[0].flatten(), [row[:n] for row, n in zip(rows, counts)]


for _name in ("WarpCTC", "WarpCTCLoss"):
    LAYERS.register(_name)(WarpCTCLoss)


@LAYERS.register("CTCGreedyDecoder")
class CTCGreedyDecoder(Layer):
    """top: the best class of each step, repetitions and blanks left out, (N, T, 1, 1), then -1

    bottom: scores (T, N, C), marks (T, N), [labels (T, N), ended by -1]; further tops: score
    (N, 1, 1, 1), minus the sum of the best scores, and, with labels, accuracy (1, 1, 1, 1): 1 - the
    mean edit distance over the longer length. Two tops with labels are classes and accuracy.
    (TextBoxes++, where the blank is the last class; CTCDecoder is caffe_ocr's, where it is 0.)
    """

    num_bottom = between(2, 3)
    num_top = between(1, 3)
    default_blank = -1

    def setup(self, bottom, top):
        if len(top) == 3 and len(bottom) == 2:
            raise LayerError(f"{self.title}: an accuracy (top 2) needs labels as bottom 2")
        self.blank = blank_of(self.param.ctc_decoder_param, self.default_blank, bottom[0].shape)

    def reshape(self, bottom, top):
        steps, images = bottom[0].shape[:2]
        if bottom[1].count != steps * images:
            raise LayerError(f"{self.title}: {steps} steps of {images} sequences need as many "
                             f"marks, got shape {bottom[1].shape}")
        shapes = [(images, steps, 1, 1), (images, 1, 1, 1), (1, 1, 1, 1)]
        if len(bottom) == 3 and len(top) == 2:
            del shapes[1]
        for blob, shape in zip(top, shapes):
            blob.reshape(*shape)

    def forward(self, bottom, top):
        scores = bottom[0].tensor.flatten(2).cpu()
        steps, images = scores.shape[:2]
        lengths = lengths_of(bottom[1].tensor.cpu().reshape(steps, images)).tolist()
        best, classes = scores.max(2)
        found = [self._read(classes[:n, i]) for i, n in enumerate(lengths)]
        rows = torch.full((images, steps), -1.0)
        for row, each in zip(rows, found):
            row[:len(each)] = torch.tensor(each)
        results = [rows, torch.tensor([-float(best[:n, i].sum()) for i, n in enumerate(lengths)])]
        if len(bottom) == 3:
            results.append(torch.tensor(self._accuracy(found, bottom[2].tensor.cpu())))
            if len(top) == 2:
                del results[1]
        for blob, values in zip(top, results):
            blob.tensor = values.to(self.device, self.dtype).reshape(blob.shape)

    def _read(self, classes: Tensor) -> list[int]:
        if self.param.ctc_decoder_param.ctc_merge_repeated:
            classes = classes.unique_consecutive()
        return classes[classes != self.blank].tolist()

    def _accuracy(self, found: list[list[int]], labels: Tensor) -> float:
        rows = labels.reshape(labels.shape[0], -1).T
        wrong = 0.0
        for each, row in zip(found, rows):
            wanted = row[(row < 0).cumsum(0) == 0].round().long().tolist()
            wrong += edit_distance(each, wanted) / max(1, len(each), len(wanted))
        return 1 - wrong / max(1, len(found))

    def backward(self, top, propagate_down, bottom):
        pass


@LAYERS.register("CTCDecoder")
class CTCDecoder(CTCGreedyDecoder):
    """top: as CTCGreedyDecoder, but the blank is class 0 (caffe_ocr)"""

    default_blank = 0


def edit_distance(a: list[int], b: list[int]) -> int:
    """Insertions, deletions and replacements that turn `a` into `b`."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        corner, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (x != y))
    return row[-1]
