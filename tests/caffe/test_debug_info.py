"""debug_info: Caffe's lines with the mean absolute value of every blob."""

import re

import numpy as np
import pytest
from google.protobuf import text_format

import caffe
from caffe.engine.formats.prototxt import read_net
from caffe.engine.net.net import Net
from caffe.proto import caffe_pb2

NET = """
layer { name: "in" type: "Input" top: "x" top: "t"
        input_param { shape { dim: 1 dim: 2 } shape { dim: 1 dim: 1 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y"
        param { name: "w" } param { lr_mult: 0 }
        inner_product_param { num_output: 1 weight_filler { type: "constant" value: -2 } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }
"""


def lines(text):
    return [line.partition("] ")[2] for line in text.splitlines() if "ward]" in line]


def test_lines_of_a_net(capsys):
    net = Net.from_proto(read_net("debug_info: true\n" + NET), caffe.TRAIN)
    net.blobs["x"].data[...], net.blobs["t"].data[...] = [[1, -3]], 2      # y = 4, y - t = 2
    capsys.readouterr()
    net.forward_backward()
    assert lines(capsys.readouterr().err) == [
        "    [Forward] Layer in, top blob x data: 2",
        "    [Forward] Layer in, top blob t data: 2",
        "    [Forward] Layer ip, top blob y data: 4",
        "    [Forward] Layer ip, param blob w data: 2",
        "    [Forward] Layer ip, param blob 1 data: 0",
        "    [Forward] Layer loss, top blob loss data: 2",
        "    [Backward] Layer loss, bottom blob y diff: 2",
        "    [Backward] Layer ip, param blob 0 diff: 4",
        "    [Backward] All net params (data, diff): "
        "L1 norm = (4, 8); L2 norm = (2.82843, 6.32456)",
    ]


def test_a_solver_turns_it_on_when_it_displays(capsys):
    param = text_format.Parse('base_lr: 0 lr_policy: "fixed" display: 2 debug_info: true '
                              "test_iter: 1 test_interval: 4 test_initialization: false",
                              caffe_pb2.SolverParameter())
    text_format.Parse(NET, param.net_param)
    solver = caffe.get_solver(param)
    assert solver.test_nets[0].debug_info and not solver.net.debug_info
    capsys.readouterr()
    found = []
    for _ in range(4):
        solver.step(1)
        found.append(len(lines(capsys.readouterr().err)))
    assert found == [9, 0, 9, 0]


def test_it_is_off_by_default(capsys):
    net = Net.from_proto(read_net(NET), caffe.TRAIN)
    net.forward_backward()
    assert not re.search(r"\[Forward\]", capsys.readouterr().err)
    assert np.isfinite(net.blobs["loss"].data) and pytest.approx(0) == net.blobs["t"].data
