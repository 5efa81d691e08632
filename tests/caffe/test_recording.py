"""Lazy recording: the gradients of a TEST net, replayed when asked, equal those recorded always."""

import numpy as np
import pytest

import caffe
from caffe.engine.formats.prototxt import read_net
from caffe.engine.net.net import Net

INPUT = """
force_backward: true
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
"""
DOUBLE = 'layer { name: "double" type: "Power" bottom: "x" top: "y" power_param { scale: 2 } }'
SIGMOID = 'layer { name: "sigmoid" type: "Sigmoid" bottom: "y" top: "y" }'
SQUARE = 'layer { name: "square" type: "Power" bottom: "y" top: "z" power_param { power: 2 } }'
PYTHON = """layer { name: "py" type: "Python" bottom: "y" top: "y"
                    python_param { module: "triple_in_place" layer: "Triple" } }"""
MODULE = """
import caffe

class Triple(caffe.Layer):
    runs = 0

    def forward(self, bottom, top):
        Triple.runs += 1
        top[0].data[...] = bottom[0].data * 3 + 1

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = top[0].diff * 3
"""


def net_of(*layers, phase=caffe.TEST):
    net = Net.from_proto(read_net(INPUT + "\n".join(layers)), phase)
    net.blobs["x"].data[...] = [[-1, 2, 3], [4, -5, 0.5]]
    return net


def gradient(net):
    net.blobs["z"].diff[...] = np.arange(1, 7).reshape(net.blobs["z"].shape)
    net.backward()
    return net.blobs["x"].diff.copy()


@pytest.mark.parametrize("sharing", [
    'layer { name: "same" type: "Flatten" bottom: "x" top: "y" }',
    'layer { name: "same" type: "Reshape" bottom: "x" top: "y" reshape_param { shape { dim: -1 } } }',
    'layer { name: "same" type: "Split" bottom: "x" top: "y" }'], ids=["Flatten", "Reshape", "Split"])
def test_a_layer_in_place_on_the_memory_of_an_input(sharing):
    lazy, always = (net_of(sharing, SIGMOID, SQUARE, phase=phase)
                    for phase in (caffe.TEST, caffe.TRAIN))
    lazy.forward(), always.forward()
    np.testing.assert_allclose(gradient(lazy), gradient(always), rtol=1e-6)


def test_a_layer_that_read_the_memory_before_it_was_overwritten():
    layers = ('layer { name: "cube" type: "Power" bottom: "x" top: "c" power_param { power: 3 } }',
              'layer { name: "same" type: "Flatten" bottom: "x" top: "y" }', SIGMOID,
              'layer { name: "sum" type: "Eltwise" bottom: "c" bottom: "y" top: "z" }')
    lazy, always = (net_of(*layers, phase=phase) for phase in (caffe.TEST, caffe.TRAIN))
    lazy.forward(), always.forward()
    np.testing.assert_allclose(gradient(lazy), gradient(always), rtol=1e-6)


@pytest.mark.parametrize("layers", [
    (DOUBLE, PYTHON, SQUARE),
    (DOUBLE, PYTHON, SIGMOID, SQUARE),
    (DOUBLE, PYTHON, SIGMOID, PYTHON.replace('"py"', '"py2"'), SQUARE)],
    ids=["last", "before another", "around another"])
def test_a_python_layer_in_place_is_not_run_again_and_not_undone(layers, tmp_path, monkeypatch):
    (tmp_path / "triple_in_place.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    lazy, always = (net_of(*layers, phase=phase) for phase in (caffe.TEST, caffe.TRAIN))
    lazy.forward(), always.forward()
    runs = type(lazy.layer_dict["py"]).runs
    np.testing.assert_allclose(gradient(lazy), gradient(always), rtol=1e-6)
    assert type(lazy.layer_dict["py"]).runs == runs


def test_what_draws_at_random_is_never_replayed():
    caffe.set_random_seed(1)
    net = net_of('layer { name: "drop" type: "Dropout" bottom: "x" top: "y" phase: TRAIN }', SQUARE)
    net.forward()
    kept = net.blobs["y"].data != 0
    assert np.array_equal(gradient(net) != 0, kept)


@pytest.mark.parametrize("edit", [1, 2])
def test_passes_over_parts_of_the_net_are_all_replayed(edit):
    found = []
    for phase in (caffe.TEST, caffe.TRAIN):
        net = net_of(DOUBLE, SIGMOID, SQUARE, phase=phase)
        net.forward(end="sigmoid")
        net.blobs["y"].data[...] *= edit            # the second pass begins with this
        net.forward(start="square")
        found.append(gradient(net))
    np.testing.assert_allclose(*found, rtol=1e-6)


def test_a_pass_begun_again_in_place_runs_on_what_was_there():
    found = []
    for phase in (caffe.TEST, caffe.TRAIN):
        net = net_of(DOUBLE, SIGMOID, SQUARE, phase=phase)
        net.forward()
        net.forward(start="sigmoid")                # the sigmoid of the sigmoid
        found.append(gradient(net))
    np.testing.assert_allclose(*found, rtol=1e-6)


@pytest.mark.parametrize("phase", [caffe.TEST, caffe.TRAIN])
def test_backward_through_a_layer_that_has_not_run_reads_its_blobs(phase):
    net = net_of(DOUBLE, SIGMOID, SQUARE, phase=phase)
    net.forward(end="sigmoid")
    y = net.blobs["y"].data.copy()
    found = gradient(net)
    np.testing.assert_allclose(found, net.blobs["z"].diff * 2 * y * y * (1 - y) * 2, rtol=1e-5)


@pytest.mark.parametrize("phase", [caffe.TEST, caffe.TRAIN])
def test_force_backward_passes_by_layers_without_a_gradient(phase):
    net = net_of('layer { name: "best" type: "ArgMax" bottom: "x" top: "best" }',
                 DOUBLE.replace('"y"', '"z"'), phase=phase)
    net.forward()
    np.testing.assert_array_equal(gradient(net), [[2, 4, 6], [8, 10, 12]])
