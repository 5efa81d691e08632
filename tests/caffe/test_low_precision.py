"""Products of training nets with factors in bfloat16: near float32's, weights as they were."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from google.protobuf import text_format

import caffe
from caffe.engine.errors import CaffeError
from caffe.engine.layer import TRAIN
from caffe.engine.net.net import Net
from caffe.proto import caffe_pb2

NET = """
layer { name: "in" type: "Input" top: "x" top: "t"
        input_param { shape { dim: 2 dim: 3 dim: 9 dim: 11 } shape { dim: 2 dim: 5 } } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "c"
        convolution_param { num_output: 7 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "tanh" type: "TanH" bottom: "c" top: "c" }
layer { name: "up" type: "Deconvolution" bottom: "c" top: "u"
        convolution_param { num_output: 4 kernel_size: 2 weight_filler { type: "xavier" } } }
layer { name: "fc" type: "InnerProduct" bottom: "u" top: "y"
        inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }
"""


def run(precision, dtype="float32", text=NET):
    caffe.set_random_seed(5)
    net = Net.from_proto(text_format.Parse(text, caffe_pb2.NetParameter(force_backward=True)),
                         TRAIN, dtype=dtype)
    net.set_precision(precision)
    random = np.random.RandomState(3)
    net.blobs["x"].data[...] = random.randn(2, 3, 9, 11)
    net.blobs["t"].data[...] = random.randn(2, 5)
    net.forward_backward()
    values = {f"{name} {part}": getattr(blob, part).astype(float)
              for name, blob in net.blobs.items() for part in ("data", "diff")}
    values |= {f"{name} {i} diff": blob.diff.astype(float)
               for name, blobs in net.params.items() for i, blob in enumerate(blobs)}
    return net, values


def test_values_and_gradients_are_near_those_of_float32():
    (_, exact), (net, rounded) = run(None), run("bfloat16")
    differs = []
    for name, want in exact.items():
        scale = np.abs(want).max() or 1
        np.testing.assert_allclose(rounded[name], want, atol=0.04 * scale, err_msg=name)
        if (rounded[name] != want).any():
            differs.append(name)
    assert {"c data", "u data", "y data", "x diff", "conv 0 diff", "up 0 diff",
            "fc 0 diff"} <= set(differs)
    assert all(blob.tensor.dtype == torch.float32
               for blob in (*net.blobs.values(), *net.learnable_params))


def test_a_product_is_that_of_rounded_factors():
    net, found = run("bfloat16")
    x, weight = (torch.from_numpy(value).bfloat16().double() for value in (
        net.blobs["x"].data, net.params["conv"][0].data))
    y = torch.nn.functional.conv2d(x, weight).tanh()
    np.testing.assert_allclose(found["c data"], y, atol=0.01 * float(y.max()))


def test_it_can_be_taken_back():
    net, _ = run("bfloat16")
    net.set_precision(None)
    net.clear_param_diffs()
    net.forward_backward()
    _, exact = run(None)
    np.testing.assert_array_equal(net.blobs["y"].data, exact["y data"])
    np.testing.assert_array_equal(net.params["fc"][0].diff, exact["fc 0 diff"])


def test_float64_nets_and_users_edits_of_blobs():
    _, double = run("bfloat16", "float64")
    assert abs(double["loss data"] - run(None, "float64")[1]["loss data"]).max() < 0.1
    net, _ = run("bfloat16")
    net.blobs["u"].data[...] *= 2                   # backward is to be at what blobs hold
    net.clear_param_diffs()
    net.backward()
    assert np.isfinite(net.params["fc"][0].diff).all()


@pytest.mark.parametrize("precision", ["bf16", "float16", 1])
def test_other_names_are_refused(precision):
    with pytest.raises(CaffeError, match=f"precision {precision!r}: .*\"bfloat16\""):
        run(precision)


CHAIN = """
layer { name: "in" type: "Input" top: "x" top: "t"
        input_param { shape { dim: 2 dim: 3 dim: 9 dim: 11 } shape { dim: 2 dim: 6 } } }
layer { name: "c1" type: "Convolution" bottom: "x" top: "c1"
        convolution_param { num_output: 7 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
layer { name: "relu1" type: "ReLU" bottom: "c1" top: "c1" }
layer { name: "pool" type: "Pooling" bottom: "c1" top: "p"
        pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "c2" type: "Convolution" bottom: "p" top: "c2"
        convolution_param { num_output: 8 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
layer { name: "overlapping" type: "Pooling" bottom: "c2" top: "o"
        pooling_param { pool: MAX kernel_size: 3 stride: 2 } }
layer { name: "relu2" type: "ReLU" bottom: "o" top: "r" }
layer { name: "relu3" type: "ReLU" bottom: "c2" top: "s" relu_param { negative_slope: 0.1 } }
layer { name: "a" type: "InnerProduct" bottom: "r" top: "a" param { name: "w" } param { name: "b" }
        inner_product_param { num_output: 6 weight_filler { type: "xavier" } } }
layer { name: "relu4" type: "ReLU" bottom: "a" top: "ra" }
layer { name: "b" type: "InnerProduct" bottom: "ra" top: "y" param { name: "v" }
        inner_product_param { num_output: 6 bias_term: false weight_filler { type: "xavier" } } }
layer { name: "c" type: "InnerProduct" bottom: "y" top: "z" param { name: "v" }
        inner_product_param { num_output: 6 bias_term: false weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "z" bottom: "t" top: "loss" }
layer { name: "rest" type: "Power" bottom: "s" top: "more" loss_weight: 0.01 }
"""


def chain(prepare=lambda net: None):
    caffe.set_random_seed(5)
    net = Net.from_proto(text_format.Parse(CHAIN, caffe_pb2.NetParameter(force_backward=True)),
                         TRAIN)
    net.set_precision("bfloat16")
    random = np.random.RandomState(3)
    net.blobs["x"].data[...] = random.randn(2, 3, 9, 11)
    net.blobs["t"].data[...] = random.randn(2, 6)
    prepare(net)
    net.forward_backward()
    return net


def values_of(net):
    return {f"{name} {i} {part}": getattr(blob, part).copy()
            for name, blobs in [*((n, [b]) for n, b in net.blobs.items()), *net.params.items()]
            for i, blob in enumerate(blobs) for part in ("data", "diff")}


def reads_all_values(net):
    """In the net's own precision, as soon as they are there: so every layer gets those."""
    net.after_forward(lambda i: [blob.tensor for blob in net.nodes[i].top])
    net.after_backward(lambda i: [blob.diff_tensor for blob in net.nodes[i].bottom])


def holds_all_views(net):
    net.views = [(blob.data, blob.diff) for blob in net.blobs.values()]


@pytest.mark.parametrize("prepare", [reads_all_values, holds_all_views])
def test_what_stays_rounded_between_layers_gives_the_same_bits(prepare):
    net = chain()
    kept = {name for name, blob in net.blobs.items()
            if blob.tensor_as_made.dtype == torch.bfloat16}
    assert {"c1", "p"} <= kept and not {"o", "r", "s", "x"} & kept
    assert net.blobs["p"].diff_as_made.dtype == net.blobs["c1"].diff_as_made.dtype == torch.bfloat16
    found, wanted = values_of(net), values_of(chain(prepare))
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert all(value.dtype == np.float32 for value in found.values())


def test_a_users_edit_of_what_stays_rounded_is_followed():
    net = chain()
    net.blobs["p"].data[...] = 0
    net.clear_param_diffs()
    net.backward()
    assert not net.params["c2"][0].diff.any() and net.params["a"][0].diff.any()
    net.forward(start="c2")
    np.testing.assert_array_equal(net.blobs["c2"].data, 0)


def test_gradients_of_shared_weights_are_added_in_float32():
    net = chain()
    (v,) = net.params["b"]
    low = {name: torch.from_numpy(net.blobs[name].data).bfloat16() for name in ("ra", "y")}
    grad = {name: torch.from_numpy(net.blobs[name].diff).bfloat16() for name in ("y", "z")}
    terms = [(grad[top].T @ low[bottom]).float() for bottom, top in (("ra", "y"), ("y", "z"))]
    assert torch.equal(v.diff_tensor, terms[0] + terms[1])
    assert not torch.equal(v.diff_tensor, v.diff_tensor.bfloat16().float())


def test_shared_weights_are_rounded_once_a_pass_and_again_in_the_next(monkeypatch):
    net, rounded = chain(), []
    (v,), to = net.params["b"], torch.Tensor.to
    shape = v.shape
    monkeypatch.setattr(torch.Tensor, "to", lambda x, *args: rounded.append(
        tuple(x.shape) == shape and args == (torch.bfloat16,)) or to(x, *args))
    v.tensor.data.mul_(2)                   # torch counts no change here
    before = net.blobs["z"].data.copy()
    net.forward()
    assert rounded.count(True) == 1
    np.testing.assert_array_equal(net.blobs["z"].data, 4 * before)
