"""The states of recurrent layers between one forward and the next."""

from __future__ import annotations

import numpy as np
import pytest

import caffe
from caffe.engine.errors import LayerError
from caffe.engine.formats.prototxt import read_net
from caffe.engine.net.net import Net

OPTIONS = "num_output: 3 weight_filler { type: 'gaussian' } bias_filler { type: 'gaussian' }"


def net(kind="LSTM", steps=4, force=False, phase=caffe.TEST):
    caffe.set_random_seed(3)
    n = Net.from_proto(read_net(
        f"force_backward: {str(force).lower()} "
        f"input: 'x' input_shape {{ dim: {steps} dim: 2 dim: 5 }} "
        f"input: 'cont' input_shape {{ dim: {steps} dim: 2 }} "
        f"layer {{ name: 'l' type: '{kind}' bottom: 'x' bottom: 'cont' top: 'y' "
        f"recurrent_param {{ {OPTIONS} }} }}"), phase)
    n.blobs["x"].data[...] = np.random.default_rng(5).normal(size=n.blobs["x"].shape)
    n.blobs["cont"].data[...] = 1
    return n


@pytest.mark.parametrize("kind", ("RNN", "LSTM"))
def test_a_sequence_goes_on_in_the_next_forward(kind):
    whole, half = net(kind), net(kind, steps=2)
    wanted = whole.forward()["y"]
    x, parts = whole.blobs["x"].data, []
    for part in (x[:2], x[2:]):
        parts.append(half.forward(x=part, cont=np.ones((2, 2)))["y"].copy())
    np.testing.assert_allclose(np.concatenate(parts), wanted, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", ("RNN", "LSTM"))
def test_cont_0_begins_anew(kind):
    n = net(kind)
    n.blobs["cont"].data[0] = 0
    first = n.forward()["y"].copy()
    np.testing.assert_array_equal(n.forward()["y"], first)


def test_backward_replays_from_the_states_forward_began_with():
    lazy, recorded = net(force=True), net(force=True, phase=caffe.TRAIN)
    for n in (lazy, recorded):
        n.forward()
        n.forward()
        n.blobs["y"].diff[...] = 1
        n.backward()
        n.forward()
    np.testing.assert_allclose(lazy.blobs["x"].diff, recorded.blobs["x"].diff, rtol=1e-6)
    np.testing.assert_allclose(lazy.blobs["y"].data, recorded.blobs["y"].data, rtol=1e-6)


def test_states_are_saved_and_restored():
    n = net()
    n.forward()
    state = n.layer_dict["l"].snapshot_state()
    wanted = n.forward()["y"].copy()
    other = net()
    other.layer_dict["l"].restore_state(state)
    np.testing.assert_array_equal(other.forward()["y"], wanted)
    with pytest.raises(LayerError, match='layer "l" \\(LSTM\\)'):
        other.layer_dict["l"].restore_state(b"something else")


def test_another_number_of_sequences_begins_anew():
    n = net()
    n.forward()
    n.blobs["x"].reshape(4, 3, 5)
    n.blobs["cont"].reshape(4, 3)
    n.blobs["x"].data[...], n.blobs["cont"].data[...] = 1, 1
    y = n.forward()["y"]
    assert y.shape == (4, 3, 3) and (y[:, :1] == y).all()


def test_wrong_blobs_are_said():
    with pytest.raises(LayerError, match=r"needs the bottoms x, cont, \[x_static\] and 2 states, "
                                         "3 tops; got 2 bottoms and 1 tops"):
        Net.from_proto(read_net(
            "input: 'x' input_shape { dim: 1 dim: 2 dim: 3 } "
            "input: 'c' input_shape { dim: 1 dim: 2 } "
            "layer { name: 'l' type: 'LSTM' bottom: 'x' bottom: 'c' top: 'y' "
            "recurrent_param { num_output: 3 expose_hidden: true } }"), caffe.TEST)
