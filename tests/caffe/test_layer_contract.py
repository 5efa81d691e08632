"""What every layer owes: right values, right gradients, new sizes, no sizes, text that survives.

The cases are in cases.py and the files cases_*.py; a registered type without cases fails here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import caffe
import cases
import cases_faces
import cases_forks
import cases_regions
from caffe.engine.blob import Blob
from caffe.engine.errors import LayerError
from caffe.engine.formats.prototxt import read_net
from caffe.engine.layer import LAYERS, Phase, layer_class
from caffe.engine.net.build import make_layer
from caffe.engine.net.net import Net

FAMILIES = (cases, cases_forks, cases_regions, cases_faces)
CASES = {kind: found for family in FAMILIES for kind, found in family.CASES.items()}
ELSEWHERE = {kind: file for family in FAMILIES for kind, file in family.ELSEWHERE.items()}
ALL = [pytest.param(kind, case, id=f"{kind}-{i}")
       for kind, found in sorted(CASES.items()) for i, case in enumerate(found)]
STEP = 1e-6


class Bench:
    """One layer of a case, alone, in float64, with bottoms and tops to read and write."""

    def __init__(self, kind, case, sizes=None):
        self.case, self.kind = case, kind
        caffe.set_random_seed(3)
        message = read_net(prototxt(kind, case)).layer[-1]
        self.layer = make_layer(message, Phase[case.phase], torch.float64, "cpu")
        self.bottom = [Blob((), torch.float64) for _ in case.bottoms]
        self.top = [Blob((), torch.float64) for _ in range(case.tops)]
        self.fill(sizes)
        self.layer.check_arity(self.bottom, self.top)
        self.layer.setup(self.bottom, self.top)
        self.layer.reshape(self.bottom, self.top)
        self.layer.recording = True
        self.layer.bottom_needs_gradient = [b.differentiable for b in case.bottoms]
        self.layer.blob_needs_gradient = [True] * len(self.layer.blobs)

    def fill(self, first=None):
        """New values; with `first`, bottoms whose first axis has that size."""
        random = np.random.default_rng(7)
        for blob, spec in zip(self.bottom, self.case.bottoms):
            spec = spec if first is None else spec.resized(first)
            blob.tensor = torch.from_numpy(np.asarray(spec.draw(spec.shape, random), np.float64))

    def forward(self):
        caffe.set_random_seed(3)
        self.layer.reshape(self.bottom, self.top)
        self.layer.forward(self.bottom, self.top)
        return [t.tensor.numpy().copy() for t in self.top]

    def backward(self, top_diffs):
        for blob, diff in zip(self.top, top_diffs):
            blob.diff_tensor = torch.from_numpy(diff.copy())
        self.layer.backward(self.top, self.layer.bottom_needs_gradient, self.bottom)

    def arrays(self):
        return [b.tensor.numpy().copy() for b in [*self.bottom, *self.layer.blobs]]

    def variables(self):
        """(blob, what it is) of everything that has a gradient."""
        yield from ((b, f"bottom {i}") for i, b in enumerate(self.bottom)
                    if self.case.bottoms[i].differentiable)
        if self.kind != "BatchNorm":            # its parameters are statistics
            yield from ((b, f"parameter {i}") for i, b in enumerate(self.layer.blobs)
                        if i < self.case.learned)


def prototxt(kind, case):
    shapes = "".join(f"input: 'b{i}' input_shape {{ {' '.join(f'dim: {n}' for n in b.shape)} }}\n"
                     for i, b in enumerate(case.bottoms))
    bottoms = " ".join(f"bottom: 'b{i}'" for i in range(len(case.bottoms)))
    tops = " ".join(f"top: 't{i}'" for i in range(case.tops))
    return f"{shapes}layer {{ name: 'l' type: '{kind}' {bottoms} {tops} {case.options} }}"


def test_every_layer_has_cases():
    assert set(CASES) | set(ELSEWHERE) == set(LAYERS.names())
    assert all((Path(__file__).parent / file).exists() for file in ELSEWHERE.values())


@pytest.mark.parametrize("kind, case", ALL)
def test_forward_equals_the_oracle(kind, case):
    if case.oracle is None:
        pytest.skip("no simpler way to say what it computes")
    bench = Bench(kind, case)
    tops = bench.forward()
    wanted = case.oracle(*bench.arrays())
    for got, want in zip(tops, wanted if isinstance(wanted, tuple) else (wanted,), strict=True):
        assert got.shape == np.shape(want)
        np.testing.assert_allclose(got, want, atol=case.tolerance, rtol=case.tolerance)


@pytest.mark.parametrize("kind, case", ALL)
def test_gradient_by_central_differences(kind, case):
    if not case.gradient or not case.tops or kind == "Input":
        pytest.skip("has no gradient, or one that is not the derivative on purpose")
    bench = Bench(kind, case)
    random = np.random.default_rng(5)
    tops = bench.forward()[:_differentiable_tops(kind, case)]
    weights = [random.normal(size=t.shape) for t in tops]
    bench.backward(weights + [np.zeros(t.shape) for t in bench.top[len(weights):]])
    for blob, what in bench.variables():
        got = blob.diff_tensor.numpy().copy()
        np.testing.assert_allclose(got, _differences(bench, blob, weights), atol=1e-6, rtol=1e-5,
                                   err_msg=f"gradient of {what}")


def _differentiable_tops(kind, case):
    """Only the first top of these passes a gradient."""
    first_only = ("Pooling", "SoftmaxWithLoss", "SoftmaxWithLossOHEM", "SmoothL1LossOHEM", "BN",
                   "InfogainLoss", "LSTM")
    return 1 if kind in first_only else case.tops


def _differences(bench, blob, weights):
    value, result = blob.tensor.clone(), np.zeros(blob.shape)
    for at in np.ndindex(*blob.shape):
        sides = []
        for step in (STEP, -STEP):
            moved = value.clone()
            moved[at] += step
            blob.tensor = moved
            sides.append(sum((w * t).sum() for w, t in zip(weights, bench.forward())))
        result[at] = (sides[0] - sides[1]) / (2 * STEP)
    blob.tensor = value
    return result


@pytest.mark.parametrize("kind, case", ALL)
def test_other_sizes(kind, case):
    """To a larger first axis and back: as if built for it, and as before."""
    if not case.resizable:
        pytest.skip("its first axis is fixed")
    bench = Bench(kind, case)
    before = bench.forward()
    larger = case.bottoms[0].shape[0] + 3
    bench.fill(larger)
    grown, fresh = bench.forward(), Bench(kind, case, larger).forward()
    bench.fill()
    for got, wanted in ((grown, fresh), (bench.forward(), before)):
        for a, b in zip(got, wanted, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-12)


@pytest.mark.parametrize("kind, case", ALL)
def test_no_items(kind, case):
    """A first axis of 0 (a stage without RoIs) is a size like others, forward and backward."""
    if not case.resizable:
        pytest.skip("its first axis is fixed")
    bench = Bench(kind, case)
    bench.fill(0)
    tops = bench.forward()
    assert all(np.isfinite(t).all() for t in tops)
    if case.gradient:
        bench.backward([np.ones(t.shape) for t in tops])
        assert all(np.isfinite(b.diff_tensor.numpy()).all() for b, _ in bench.variables())


@pytest.mark.parametrize("kind, case", ALL)
def test_layout_in_memory_does_not_matter(kind, case):
    bench = Bench(kind, case)
    wanted = bench.forward()
    for blob in bench.bottom:
        if len(blob.shape) == 4:
            blob.tensor = blob.tensor.contiguous(memory_format=torch.channels_last)
    for got, want in zip(bench.forward(), wanted, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-12)


@pytest.mark.parametrize("kind, case", ALL)
def test_shapes_are_known_before_any_data(kind, case):
    """A net knows the shapes of all blobs when it is built, and its text builds it again."""
    if case.sized_by_data:
        pytest.skip("the shapes depend on the data")
    net = Net.from_proto(read_net(prototxt(kind, case)), Phase[case.phase])
    tops = [f"t{i}" for i in range(case.tops)]
    shapes = [net.blobs[t].shape for t in tops]
    assert shapes == [t.shape for t in Bench(kind, case).forward()]
    again = Net.from_proto(read_net(str(net.proto)), Phase[case.phase])
    assert [again.blobs[t].shape for t in tops] == shapes


@pytest.mark.parametrize("kind, case", ALL)
def test_options_stay_as_they_were_written(kind, case):
    """A layer writes no defaults into the net, which is saved as the user wrote it."""
    written = read_net(prototxt(kind, case)).layer[-1]
    net = Net.from_proto(read_net(prototxt(kind, case)), Phase[case.phase])
    kept, = (y for y in net.to_proto().layer if y.name == "l")
    for message in (written, kept):
        message.ClearField("blobs")
        message.ClearField("phase")
        message.ClearField("param")         # statistics say there that they do not learn,
        message.ClearField("loss_weight")   # losses that they count, as in Caffe
    assert kept == written


@pytest.mark.parametrize("kind, case", [p for p in ALL if len(p.values[1].bottoms) == 1])
def test_the_class_knows_how_many_parameters_options_make(kind, case):
    layer = Bench(kind, case).layer
    count = layer_class(kind).parameter_count(layer.param)
    assert count is None or count == len(layer.blobs)


@pytest.mark.parametrize("kind, case", ALL)
def test_wrong_number_of_bottoms_is_an_error_with_the_name(kind, case):
    message = read_net(prototxt(kind, case)).layer[-1]
    layer = make_layer(message, 1, torch.float32, "cpu")
    arity = layer.num_bottom
    wrong = [n for n in (len(case.bottoms) + 2, 0, 1) if n not in arity]
    if not wrong:
        pytest.skip("takes any number")
    blobs = [Blob((2, 3)) for _ in range(wrong[0])]
    with pytest.raises(LayerError, match=f'layer "l" \\({kind}\\) takes'):
        layer.check_arity(blobs, [Blob()] * case.tops)
