"""Learning rates over the iterations, against Caffe's."""

import json
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format

from caffe.engine.errors import PrototxtError
from caffe.engine.solving.lr_policies import LR_POLICIES, current_step, learning_rate
from caffe.proto import caffe_pb2

TEXT = json.loads(str(np.load(Path(__file__).parents[1] / "golden/solvers.npz")["text"]))
RATES = json.loads(TEXT["learning_rates"])


def rates(param, count):
    step, found = 0, []
    for iteration in range(count):
        step = current_step(param, iteration, step)
        found.append(learning_rate(param, iteration, step))
    return found


def solver(text):
    return text_format.Parse(text, caffe_pb2.SolverParameter())


OURS = {"cosine"}      # not among Caffe's


@pytest.mark.parametrize("policy", sorted(set(LR_POLICIES.names()) - OURS))
def test_rates_are_caffes(policy):
    param = solver(TEXT[f"lr_{policy}.prototxt"])
    np.testing.assert_allclose(rates(param, 12), RATES[policy], rtol=1e-6)


def test_cosine_by_hand():
    param = solver('base_lr: 2 lr_policy: "cosine" max_iter: 4')
    np.testing.assert_allclose(rates(param, 6), [2, 1 + .5 ** .5, 1, 1 - .5 ** .5, 0, 0], atol=1e-9)


def test_steps_by_hand():
    assert rates(solver('base_lr: 1 lr_policy: "step" gamma: 0.5 stepsize: 2'), 5) == \
        [1, 1, .5, .5, .25]
    assert rates(solver('base_lr: 1 lr_policy: "multistep" gamma: 0.5 stepvalue: 1 stepvalue: 3'),
                 5) == [1, .5, .5, .25, .25]


def test_multistep_takes_one_step_at_a_time():
    param = solver('base_lr: 1 lr_policy: "multistep" gamma: 0.5 stepvalue: 2 stepvalue: 2')
    assert rates(param, 5) == [1, 1, .5, .25, .25]


def test_poly_ends_at_zero():
    param = solver('base_lr: 1 lr_policy: "poly" power: 0.5 max_iter: 4')
    assert rates(param, 7)[4:] == [0, 0, 0]


def test_sigmoid_far_from_its_middle_does_not_overflow():
    param = solver('base_lr: 1 lr_policy: "sigmoid" gamma: -1 stepsize: 5')
    assert learning_rate(param, 10**6, 0) == 0


@pytest.mark.parametrize("text, message", [
    ('lr_policy: "stepp"', 'unknown learning-rate policy "stepp"; did you mean "step"'),
    ('lr_policy: "step"', 'lr_policy "step" needs a positive stepsize, got 0'),
    ('lr_policy: "poly"', 'lr_policy "poly" needs a positive max_iter, got 0'),
])
def test_errors_say_what_is_wrong(text, message):
    with pytest.raises(PrototxtError, match=message):
        learning_rate(solver(text), 0, 0)
