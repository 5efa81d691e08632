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
