"""Python layers of the user: found by module name, live in net.layers, forward and backward."""

import numpy as np
import pytest

import caffe
from caffe.engine.formats.prototxt import read_net
from caffe.engine.net.net import Net


class Scale(caffe.Layer):
    """top = factor * bottom; param_str is the factor."""

    def setup(self, bottom, top):
        self.factor = float(self.param_str_)
        self.seen = str(self.phase)
        self.calls = 0

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom, top):
        self.calls += 1
        top[0].data[...] = self.factor * bottom[0].data

    def backward(self, top, propagate_down, bottom):
        if propagate_down[0]:
            bottom[0].diff[...] = self.factor * top[0].diff


class Source(caffe.Layer):
    def reshape(self, bottom, top):
        top[0].reshape(2, 3)

    def forward(self, bottom, top):
        top[0].data[...] = 7


class Failing(Scale):
    def forward(self, bottom, top):
        raise KeyError("gt_masks")


class NoBackward(caffe.Layer):
    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data


def net(kind="Scale", phase=caffe.TEST):
    return Net.from_proto(read_net(f"""
        force_backward: true
        layer {{ name: "in" type: "Input" top: "x" input_param {{ shape {{ dim: 2 dim: 3 }} }} }}
        layer {{ name: "sig" type: "Sigmoid" bottom: "x" top: "s" }}
        layer {{ name: "p" type: "Python" bottom: "s" top: "y"
                 python_param {{ module: "{__name__}" layer: "{kind}" param_str: "2.5" }} }}
        layer {{ name: "neg" type: "ReLU" bottom: "y" top: "y" relu_param {{ negative_slope: .5 }} }}
        """), phase)


def test_forward_backward_and_the_live_object():
    n = net()
    n.blobs["x"].data[...] = 1
    n.forward()
    s = 1 / (1 + np.exp(-1))
    np.testing.assert_allclose(n.blobs["y"].data, 2.5 * s, rtol=1e-6)
    n.blobs["y"].diff[...] = 1
    n.backward()
    np.testing.assert_allclose(n.blobs["x"].diff, 2.5 * s * (1 - s), rtol=1e-5)
    assert type(n.layers[2]).__name__ == "Scale" and n.layers[2].seen == "TEST"


def test_replay_does_not_run_a_users_layer_twice():
    n = net()
    n.forward()
    n.backward()
    assert n.layers[2].calls == 1


def test_an_exception_of_the_layer_stays_what_it_is():
    with pytest.raises(KeyError) as caught:
        net("Failing").forward()
    assert any('layer "p"' in note for note in getattr(caught.value, "__notes__", ['layer "p"']))


def test_missing_backward_is_said_when_it_is_needed():
    n = net("NoBackward")
    n.forward()
    with pytest.raises(caffe.LayerError, match='layer "p" .*no backward'):
        n.backward()


def test_a_source_needs_no_backward_even_if_gradients_are_forced():
    n = Net.from_proto(read_net(f"""
        force_backward: true
        layer {{ name: "p" type: "Python" top: "x"
                 python_param {{ module: "{__name__}" layer: "Source" }} }}
        layer {{ name: "double" type: "Power" bottom: "x" top: "y" power_param {{ scale: 2 }} }}
        """), caffe.TEST)
    n.forward()
    n.blobs["y"].diff[...] = 1
    n.backward()
    assert (n.blobs["x"].diff == 2).all()
