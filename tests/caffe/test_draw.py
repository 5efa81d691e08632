"""caffe.draw: labels, colours and the graph; Graphviz itself is another's."""

import pytest
from google.protobuf import text_format

import caffe
from caffe import draw
from caffe.proto import caffe_pb2

pydot = pytest.importorskip("pydot", reason="drawings of nets need pydot")

NET = text_format.Parse("""
name: "small"
layer { name: "data" type: "Data" top: "data" top: "label" data_param { batch_size: 64 }
        include { phase: TRAIN } }
layer { name: "conv:1" type: "Convolution" bottom: "data" top: "conv:1" param { lr_mult: 3 }
        convolution_param { num_output: 20 kernel_size: 5 pad: 2 } }
layer { name: "relu" type: "ReLU" bottom: "conv:1" top: "conv:1" }
layer { name: "pool" type: "Pooling" bottom: "conv:1" top: "pool"
        pooling_param { pool: AVE kernel_size: 3 stride: 2 } }
layer { name: "ip" type: "InnerProduct" bottom: "pool" top: "ip"
        inner_product_param { num_output: 10 } }
layer { name: "acc" type: "Accuracy" bottom: "ip" bottom: "label" top: "acc"
        exclude { phase: TRAIN } }
""", caffe_pb2.NetParameter())
DATA, CONV, RELU, POOL, IP, ACC = NET.layer


def test_labels_of_layers():
    assert draw.get_layer_label(CONV, "TB") == \
        '"conv:1 (Convolution) kernel size: 5 stride: 1 pad: 2"'
    assert draw.get_layer_label(POOL, "LR") == \
        r'"pool\n(Pooling AVE)\nkernel size: 3\nstride: 2\npad: 0"'
    assert draw.get_layer_label(RELU, "BT", display_lrm=True) == '"relu (ReLU)"'
    assert draw.get_layer_label(IP, "TB", True) == '"ip (InnerProduct) lr mult: 1.0, 1.0"'


def test_labels_of_edges_and_colours():
    assert [draw.get_edge_label(y) for y in NET.layer] == ["Batch 64", "20", '""', '""', "10", '""']
    assert draw.choose_color_by_layertype("Deconvolution") == "#FF5050"
    assert draw.choose_color_by_layertype("Pooling") == "#FF9900"
    assert draw.choose_color_by_layertype("InnerProduct") == "#CC33FF"
    assert draw.choose_color_by_layertype("LRN") == "#6495ED"


def test_pooling_types():
    assert draw.get_pooling_types_dict() == {0: "MAX", 1: "AVE", 2: "STOCHASTIC"}


def test_multipliers():
    assert draw.get_layer_lr_mult(CONV) == (3, 1) and draw.get_layer_lr_mult(IP) == (1, 1)
    two = caffe_pb2.LayerParameter(type="InnerProduct", param=[{"lr_mult": 0}, {"lr_mult": 2}])
    assert draw.get_layer_lr_mult(two) == (0, 2)
    with pytest.raises(ValueError, match="ReLU layers have no"):
        draw.get_layer_lr_mult(RELU)
    with pytest.raises(ValueError, match="3 param entries"):
        draw.get_layer_lr_mult(caffe_pb2.LayerParameter(type="Convolution", param=[{}, {}, {}]))


def labels(graph):
    return {node.get_name() for node in graph.get_nodes()}


def test_the_graph_has_layers_blobs_and_edges():
    graph = draw.get_pydot_graph(NET, "TB", display_lrm=True)
    assert (graph.get_name(), graph.get_rankdir()) == ("small", "TB")
    assert len(graph.get_nodes()) == 6 + 6 and len(graph.get_edges()) == 6 + 7
    nodes = {node.get_name(): node for node in graph.get_nodes()}
    assert nodes['"relu (ReLU)"'].get_fillcolor() == "#90EE90"         # in place
    assert nodes['"pool"'].get_shape() == "octagon"
    edges = {(e.get_source(), e.get_destination()): e.get_label() for e in graph.get_edges()}
    assert edges['"data (Data)"', '"data"'] == '"Batch 64"'
    plain = draw.get_pydot_graph(NET, "TB", label_edges=False)
    assert {e.get_label() for e in plain.get_edges()} == {'""'}


def test_the_graph_of_a_phase():
    train = labels(draw.get_pydot_graph(NET, "TB", phase=caffe.TRAIN))
    test = labels(draw.get_pydot_graph(NET, "TB", phase=caffe.TEST))
    assert '"data (Data)"' in train - test and '"acc (Accuracy)"' in test - train
    both = caffe_pb2.NetParameter(layer=[{"name": "x", "include": [{}], "exclude": [{}]}])
    with pytest.raises(ValueError, match="both include and exclude"):
        draw.get_pydot_graph(both, "TB")


def test_files(tmp_path, monkeypatch):
    draw.draw_net_to_file(NET, str(tmp_path / "net.raw"))
    assert (tmp_path / "net.raw").read_text().startswith("digraph small {")
    monkeypatch.setattr(pydot.Dot, "create", lambda self, format: f"{format}!".encode())
    draw.draw_net_to_file(NET, str(tmp_path / "net.png"), rankdir="BT")
    assert (tmp_path / "net.png").read_bytes() == b"png!"
    assert draw.draw_net(NET, "LR", ext="svg") == b"svg!"


def test_without_graphviz_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(caffe.CaffeError, match="apt install graphviz"):
        draw.draw_net_to_file(NET, str(tmp_path / "net.png"))
    assert not (tmp_path / "net.png").exists()
