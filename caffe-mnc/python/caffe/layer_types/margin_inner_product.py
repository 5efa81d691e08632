"""MarginInnerProduct of SphereFace: the angle to the own class counts several times."""

from __future__ import annotations

import json
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, TorchLayer, between, exactly
from caffe.layer_types.axes import canonical, expect_labelled_vectors
from caffe.layer_types.batches import naming
from caffe.layer_types.gradients import with_gradient_of
from caffe.ops import Mode

# cos(m t) and its derivative from c = cos t, for m = 1 .. 4
COSINES = (lambda c: c, lambda c: 2 * c ** 2 - 1, lambda c: 4 * c ** 3 - 3 * c,
           lambda c: 8 * c ** 4 - 8 * c ** 2 + 1)
SLOPES = (torch.ones_like, lambda c: 4 * c, lambda c: 12 * c ** 2 - 3,
          lambda c: 32 * c ** 3 - 16 * c)


@LAYERS.register("MarginInnerProduct")
class MarginInnerProduct(TorchLayer):
    """y = x W^T, but for the own class (|x| psi(t) + lambda x w) / (1 + lambda) (SphereFace)

    psi = (-1)^k cos(m t) - 2 k, t the angle between x and w, k = floor(m t / pi), m = 1 to 4 for
    SINGLE to QUADRUPLE. bottom: x (N, ...), labels (N,); top: y (N, num_output), on request
    lambda (1,). Parameter: W (num_output, K). Each forward, in TEST too, brings the rows of W in
    their place to length 1 and counts: lambda = max(base (1 + gamma n)^-power, lambda_min), n from
    `iteration` on. mode REFERENCE: W's gradient is that of x W^T, and the vector that x gets from
    its own class, a w + b x, is divided by sqrt(a^2 + b^2).
    """

    num_bottom = exactly(2)
    num_top = between(1, 2)
    no_gradient = (1,)
    pure = False            # it counts

    def setup(self, bottom, top):
        options = self.param.margin_inner_product_param
        self.axis = canonical(self, options.axis, len(bottom[0].shape))
        if options.num_output < 1:
            raise LayerError(f"{self.title}: num_output is missing or 0")
        self.exact = Mode(options.mode) is Mode.EXACT
        self.times, self.tops = options.type + 1, len(top)
        self.count, self.weight = options.iteration, 0.0
        self.add_blob((options.num_output, math.prod(bottom[0].shape[self.axis:])),
                      options.weight_filler)

    def check(self, *shapes):
        expect_labelled_vectors(self, *shapes)

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [(*shapes[0][:self.axis], self.blobs[0].shape[0]), (1,)][:self.tops]

    def start_run(self, params):
        o = self.param.margin_inner_product_param
        self.count += 1
        self.weight = max(o.base * (1 + o.gamma * self.count) ** -o.power, o.lambda_min)
        with torch.no_grad():
            params[0].div_(params[0].norm(dim=1, keepdim=True))

    def compute(self, x: Tensor, label: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        rows, own = x.reshape(-1, weight.shape[1]), label.reshape(-1, 1).long()
        if self.exact:
            weight = weight / weight.norm(dim=1, keepdim=True)
        scores = F.linear(rows, weight)
        if self.times > 1:
            scores = (self._with_margin if self.exact else self._reference)(scores, rows, own,
                                                                            weight)
        y = scores.reshape(*x.shape[:self.axis], len(weight))
        return (y, x.new_full((1,), self.weight))[:self.tops]

    def _with_margin(self, scores: Tensor, rows: Tensor, own: Tensor, weight: Tensor) -> Tensor:
        length = rows.norm(dim=1, keepdim=True)
        cosine = (scores.gather(1, own) / length).clamp(-1, 1)
        sign, turns = self._turns(cosine)
        psi = sign * COSINES[self.times - 1](cosine) - 2 * turns
        mixed = (length * psi + self.weight * scores.gather(1, own)) / (1 + self.weight)
        return scores.scatter(1, own, mixed)

    def _turns(self, cosine: Tensor) -> tuple[Tensor, Tensor]:
        """(-1)^k and k"""
        angle = cosine.detach().acos()
        turns = (self.times * angle / math.pi).floor().clamp(max=self.times - 1)
        return 1 - 2 * (turns % 2), turns

    def _reference(self, scores: Tensor, rows: Tensor, own: Tensor, weight: Tensor) -> Tensor:
        value = self._with_margin(scores.detach(), rows.detach(), own, weight.detach())
        vectors, x = weight.detach()[own[:, 0]], rows.detach()
        length = x.norm(dim=1, keepdim=True)
        cosine = (scores.detach().gather(1, own) / length).clamp(-1, 1)
        sign, turns = self._turns(cosine)
        a = sign * SLOPES[self.times - 1](cosine)
        b = (sign * COSINES[self.times - 1](cosine) - 2 * turns - a * cosine) / length
        pull = (a * vectors + b * x) / (a.square() + b.square()).sqrt()
        pull = (pull + self.weight * vectors) / (1 + self.weight)
        more = ((pull - vectors) * rows).sum(1, keepdim=True)
        return with_gradient_of(value, scores.scatter_add(1, own, more))

    def snapshot_state(self) -> bytes:
        """How many forwards have been counted, for a solver state."""
        return json.dumps(self.count).encode()

    def restore_state(self, state: bytes) -> None:
        with naming(self):
            self.count = int(json.loads(state))
