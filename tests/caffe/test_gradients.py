"""Gradients along chains of operators are those of autograd's engine."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from caffe.engine import gradients
from caffe.engine.gradients import gradients as gradients_of


def _variable(*shape):
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


X, ROW, B, W = (3, 4), (1, 4), (4,), (5, 4)
CHAINS = {
    "one operator": ([X], lambda x: x.tanh()),
    "three": ([X], lambda x: F.nll_loss(F.log_softmax(x, 1), torch.tensor([0, 3, 2])) / 7),
    "with parameters": ([X, B, B], lambda x, a, b: (x * a).tanh() + b),
    "an axis that was broadcast": ([ROW, W, (5,)], F.linear),
    "in the midst": ([B, X], lambda b, x: b.exp() + x),
    "views": ([X, B], lambda x, b: x.reshape(3, 2, 2).exp().reshape(3, 4) + b),
}
NO_CHAINS = {
    "taken twice": ([X], lambda x: x * x),
    "two ways": ([X], lambda x: x.tanh() + x.exp()),
    "a part": ([X], lambda x: x.split(2, 1)[1].exp()),
    "the first part": ([X], lambda x: x.split(2, 1)[0].exp()),
}


@pytest.mark.parametrize("name", [*CHAINS, *NO_CHAINS])
def test_as_autograd_has_them(name, monkeypatch):
    shapes, function = {**CHAINS, **NO_CHAINS}[name]
    variables = [_variable(*shape) for shape in shapes]
    output = function(*variables)
    given = torch.randn_like(output)
    expected = torch.autograd.grad([output], variables, [given], retain_graph=True)
    if name in CHAINS:      # not by the engine
        monkeypatch.setattr(gradients.torch.autograd, "grad", None)
    for _ in range(2):      # the record stays
        for mine, theirs in zip(gradients_of([(output, given)], variables), expected):
            torch.testing.assert_close(mine, theirs)


def test_a_variable_that_is_not_there_has_none():
    x, other = _variable(2), _variable(2)
    assert gradients_of([(x.exp(), torch.ones(2))], [other, x])[0] is None
