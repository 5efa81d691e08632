"""Dense chains in other runtimes: the same outputs, or torch's and one line of the log."""

from __future__ import annotations

import logging
from functools import partial

import numpy as np
import pytest
import torch

import caffe
from caffe.engine.net import chains
from test_plan import INPUT, assert_same_outputs, conv, data, layer, nets

pytest.importorskip("onnxscript", reason="pip install mnc-caffe[onnxruntime]")

REGIONS = 'layer { name: "rois" type: "Input" top: "rois" input_param { shape { dim: 1 dim: 5 } } }'
LAYERS = (
    INPUT, REGIONS, layer("Power", "x", "scaled", "power_param { scale: 0.5 }"),
    conv("c1", "scaled", "a"), layer("ReLU", "a", "a"), layer("Pooling", "a", "p", """pooling_param {
        kernel_size: 2 stride: 2 }"""), conv("c2", "p", "b"), layer("ReLU", "b", "b"),
    layer("Eltwise", "p b", "e"), layer("Reshape", "e", "r", """reshape_param {
        shape { dim: 0 dim: 2 dim: -1 dim: 0 } }"""), layer("Softmax", "r", "s"),
    layer("ROIPooling", "b rois", "pooled", "roi_pooling_param { pooled_w: 2 pooled_h: 2 }"),
    layer("InnerProduct", "pooled", "f", """inner_product_param { num_output: 3
          weight_filler { type: "xavier" } }"""))
ROI = np.array([[0, 1, 1, 3, 3]], np.float32)


def warnings_of(records):
    return [r.getMessage() for r in records if r.levelno == logging.WARNING]


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_chain_between_regions_goes_to_the_backend_for_any_size(backend, caplog):
    pytest.importorskip(backend, reason=f"pip install mnc-caffe[{backend}]")
    plain, fast = nets(*LAYERS)
    fast.optimize(["s", "f"], backend=backend)
    for shape in ((2, 3, 9, 11), (2, 3, 9, 11), (3, 3, 16, 13)):
        for net in (plain, fast):
            net.blobs["x"].reshape(*shape)
        assert_same_outputs(plain, fast, x=data(*shape), rois=ROI)
    chain, = fast._optimized._plan._chains
    assert chain.runner is not None and not warnings_of(caplog.records)
    assert [n.layer.name for n in chain.nodes if n.layer.is_product] == ["c1", "c2"]
    ran = []
    fast.before_forward(lambda i: ran.append(fast.layers[i].name))
    fast.forward()
    assert "c2" not in ran and "ROIPooling_pooled" in ran


class Wrong:
    """A runtime that is wrong, or that breaks at its second run."""

    def __init__(self, factor):
        self.factor, self.runs = factor, 0

    def takes(self, values):
        return True

    def __call__(self, values):
        self.runs += 1
        if self.runs > 1:
            raise ValueError("out of luck\nand more")
        return [torch.full((1, 4, 8, 10), self.factor)]


@pytest.mark.parametrize("factor, said", [(7.0, "differ by"), (0.0, "out of luck")])
def test_a_backend_that_is_wrong_or_breaks_is_one_line_and_torch_computes(factor, said, caplog):
    plain, fast = nets(INPUT, conv("c", "x", "y"))
    fast.optimize()
    for net in (plain, fast):
        net.blobs["x"].reshape(1, 3, 8, 10)
        net.params["c"][1].data[...] = 0
    fast._optimized._converts = {"wrong": lambda chain, values: Wrong(factor)}
    for x in (np.zeros((1, 3, 8, 10), np.float32), data(1, 3, 8, 10)):
        np.testing.assert_allclose(fast.forward(x=x)["y"], plain.forward(x=x)["y"], atol=1e-5)
    line, = warnings_of(caplog.records)
    assert said in line and '"c"' in line and "and more" not in line


@pytest.mark.parametrize("slow, taken", [(0.0, True), (9.0, False)])
def test_auto_takes_what_is_faster_than_torch(slow, taken, monkeypatch):
    net, = nets(INPUT, conv("c", "x", "y"), count=1)
    net.optimize(backend="auto")

    class Echo(Wrong):
        def __call__(self, values):
            return [torch.zeros(2, 4, 8, 10)]
    monkeypatch.setattr(chains, "_seconds", lambda work: slow if isinstance(work, partial) else 1)
    net._optimized._converts = {"echo": lambda chain, values: Echo(0)}
    net.params["c"][1].data[...] = 0
    net.forward(x=np.zeros((2, 3, 8, 10), np.float32))
    assert (net._optimized._plan._chains[0].runner is not None) is taken


def test_what_is_unknown_or_not_fit_is_said(caplog):
    net, = nets(INPUT, conv("c", "x", "y"), count=1)
    with pytest.raises(caffe.CaffeError, match='unknown backend "openvin".*openvino'):
        net.optimize(backend="openvin")
    double, = nets(INPUT, conv("c", "x", "y"), count=1, dtype="float64")
    double.optimize(backend="onnxruntime")
    assert double.forward()["y"].dtype == np.float64
    assert "float32 on the CPU" in warnings_of(caplog.records)[0]
