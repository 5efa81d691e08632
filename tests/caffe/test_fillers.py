"""Fillers: exact values, the moments that Caffe's have, and what they refuse."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from google.protobuf import text_format

from caffe.engine.fillers import FILLERS, fill
from caffe.engine.random import generator, set_random_seed
from caffe.proto import caffe_pb2

GOLDEN = np.load(Path(__file__).parents[1] / "golden/fillers.npz")
STATISTICS = json.loads(str(GOLDEN["statistics"]))


def filled(text: str, shape) -> np.ndarray:
    set_random_seed(3)
    values = torch.empty(shape)
    fill(values, text_format.Parse(text, caffe_pb2.FillerParameter()))
    return values.numpy()


def test_registered_fillers_are_caffes():
    assert FILLERS.names() == ["bilinear", "constant", "gaussian", "msra", "positive_unitball",
                               "uniform", "xavier"]


@pytest.mark.parametrize("size", [4, 5, 8])      # other sizes changed between Caffe's versions
def test_bilinear_is_caffes(size):
    np.testing.assert_allclose(filled('type: "bilinear"', (2, 1, size, size)),
                               GOLDEN[f"bilinear_k{size}"], rtol=1e-6)


def test_bilinear_of_three_is_a_tent():
    # f = 2, c = 1/2: 1 - |x/2 - 1/2| = 1/2, 1, 1/2
    np.testing.assert_allclose(filled('type: "bilinear"', (1, 1, 3, 3))[0, 0],
                               [[.25, .5, .25], [.5, 1, .5], [.25, .5, .25]])


@pytest.mark.parametrize("case", STATISTICS, ids=lambda case: case["name"])
def test_moments_are_caffes(case):
    values = filled(case["filler"], case["shape"]).astype(np.float64)
    error = 6 * max(case["std"], 1e-12) / np.sqrt(values.size)      # six standard errors each
    assert abs(values.mean() - case["mean"]) <= 2 * error
    assert values.std() == pytest.approx(case["std"], rel=0.02, abs=1e-7)
    assert (values == 0).mean() == pytest.approx(case["zeros"], abs=0.002)
    if "gaussian" not in case["name"] and "msra" not in case["name"]:      # bounded ones
        assert values.min() == pytest.approx(case["min"], abs=0.002 * (1 + abs(case["min"])))
        assert values.max() == pytest.approx(case["max"], abs=0.002 * (1 + abs(case["max"])))


def test_rows_of_the_unit_ball_sum_to_one():
    np.testing.assert_allclose(filled('type: "positive_unitball"', (5, 2, 3)).sum((1, 2)), 1,
                               rtol=1e-6)


@pytest.mark.parametrize("norm, fan", [("FAN_IN", 3 * 7 * 7), ("FAN_OUT", 11 * 7 * 7),
                                       ("AVERAGE", 7 * 7 * 7)])
def test_fans(norm, fan):
    values = filled(f'type: "xavier" variance_norm: {norm}', (11, 3, 7, 7))
    assert np.abs(values).max() == pytest.approx(np.sqrt(3 / fan), rel=0.01)


def test_a_vector_has_fan_in_one():
    assert np.abs(filled('type: "xavier"', (4000,))).max() == pytest.approx(np.sqrt(3), rel=0.01)


def test_same_seed_same_values_whatever_the_dtype():
    single, double = torch.empty(5, 7), torch.empty(5, 7, dtype=torch.float64)
    for values in (single, double):
        set_random_seed(5)
        fill(values, caffe_pb2.FillerParameter(type="gaussian"))
    assert torch.equal(single.double(), double)


def test_seed_reaches_generators_made_before_and_after():
    first = generator("cpu")
    set_random_seed(7)
    before = torch.rand(3, generator=first)
    set_random_seed(7)
    assert torch.equal(before, torch.rand(3, generator=generator("cpu")))


@pytest.mark.parametrize("text, shape, message", [
    ('type: "bilinear"', (2, 1, 3, 4), r"square kernels, got shape \(2, 1, 3, 4\)"),
    ('type: "uniform" min: 2 max: 1', (2,), "min 2 is above max 1"),
    ('type: "uniform" min: -3e38 max: 3e38', (2,), "no finite range"),
    ('type: "uniform" max: inf', (2,), "no finite range"),
    ('type: "gaussian" std: -1', (2,), "std -1 is negative"),
    ('type: "xavir"', (2,), 'unknown filler "xavir"; did you mean "xavier"'),
])
def test_errors_say_what_is_wrong(text, shape, message):
    with pytest.raises(ValueError, match=message):
        filled(text, shape)


def test_parameters_without_elements_are_left_alone():
    for name in FILLERS.names():
        if name != "bilinear":
            assert filled(f'type: "{name}"', (0, 3)).shape == (0, 3)
