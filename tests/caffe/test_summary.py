"""caffe summary, print(net), caffe diff."""

from __future__ import annotations

import csv
import io
import json

import pytest

from caffe.commands import diff, summary
from caffe.engine.net.summary import summarize, total
from test_plan import INPUT, conv, layer, nets

LAYERS = (INPUT, conv("c1", "x", "a"), layer("ReLU", "a", "a"),
          layer("Pooling", "a", "p", "pooling_param { kernel_size: 2 stride: 2 }"),
          """layer { name: "d1" type: "Deconvolution" bottom: "p" top: "d" convolution_param {
             num_output: 6 group: 2 kernel_size: 2 bias_term: false } }""",
          layer("Flatten", "d", "f"), layer("TanH", "d", "t"),
          """layer { name: "ip" type: "InnerProduct" bottom: "f" top: "y" param { name: "w" }
             inner_product_param { num_output: 7 bias_term: false } }
          layer { name: "ip2" type: "InnerProduct" bottom: "f" top: "z" param { name: "w" }
             inner_product_param { num_output: 7 bias_term: false } }""")


@pytest.fixture
def net():
    return nets(*LAYERS, count=1)[0]


def test_numbers_that_one_can_check(net):
    found = {row.layer: (row.output, row.parameters, row.multiply_adds, row.memory)
             for row in summarize(net)}
    assert found == {
        "in": ("2 x 3 x 8 x 10", 0, 0, 4 * 480),
        "c1": ("2 x 4 x 8 x 10", 4 * 27 + 4, 640 * 27, 4 * 640),
        "ReLU_a": ("2 x 4 x 8 x 10", 0, 0, 0),                          # in place
        "Pooling_p": ("2 x 4 x 4 x 5", 0, 0, 4 * 160),
        "d1": ("2 x 6 x 5 x 6", 4 * 3 * 4, 160 * 3 * 4, 4 * 360),
        "Flatten_f": ("2 x 180", 0, 0, 0),                              # no memory of its own
        "TanH_t": ("2 x 6 x 5 x 6", 0, 0, 4 * 360),
        "ip": ("2 x 7", 7 * 180, 2 * 7 * 180, 4 * 14),
        "ip2": ("2 x 7", 7 * 180, 2 * 7 * 180, 4 * 14)}
    sums = total(net, summarize(net))
    assert sums.parameters == 112 + 48 + 1260                           # one is shared
    assert sums.multiply_adds == 17280 + 1920 + 2 * 2520


def test_recurrent_layers_count_each_step():
    text = """layer { name: "i" type: "Input" top: "x" top: "c" input_param {
        shape { dim: 5 dim: 2 dim: 3 } shape { dim: 5 dim: 2 } } }
        layer { name: "l" type: "LSTM" bottom: "x" bottom: "c" top: "y" recurrent_param { num_output: 4 } }"""
    row = summarize(nets(text, count=1)[0])[-1]
    assert row.multiply_adds == 5 * 2 * (16 * 3 + 16 * 4)


def test_print_gives_the_table(net, capsys):
    print(net)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["layer", "type", "output", "parameters", "multiply-adds", "memory"]
    assert " ".join(lines[2].split()) == "c1 Convolution 2 x 4 x 8 x 10 112 17,280 2.6 kB"
    assert lines[-1].split()[:3] == ["total", "1,420", "24,240"]
    assert len({len(line) for line in lines[1:3]}) == 1


def test_the_command(net, tmp_path, capsys):
    path, weights = tmp_path / "net.prototxt", tmp_path / "w.caffemodel"
    path.write_text("\n".join(LAYERS))
    net.save(str(weights))
    assert summary.main([str(path), str(weights)]) == 0
    assert capsys.readouterr().out == f"{net}\n"
    assert summary.main([str(path), "--json", "--input", "x=4x3x8x10"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["layers"][1]["multiply_adds"] == 2 * 640 * 27 and found["inputs"] == ["x"]
    assert found["total"]["parameters"] == 1420
    assert summary.main([str(path), "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert rows[1]["multiply-adds"] == "17280" and rows[1]["output"] == "2 x 4 x 8 x 10"


def test_values_are_not_drawn_for_a_summary(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("caffe.engine.caffe_layer.fill", None)
    (tmp_path / "net.prototxt").write_text(INPUT + conv("c1", "x", "a"))
    assert summary.main([str(tmp_path / "net.prototxt")]) == 0
    assert "112" in capsys.readouterr().out


def test_nets_are_compared_by_layer_and_field(tmp_path, capsys):
    a, b = tmp_path / "a.prototxt", tmp_path / "b.prototxt"
    a.write_text("\n".join(LAYERS[:4]))
    b.write_text("\n".join([*LAYERS[:3], layer("TanH", "a", "t")]).replace("num_output: 4", "num_output: 5"))
    assert diff.main([str(a), str(a)]) == 0 and capsys.readouterr().out == "no difference\n"
    assert diff.main([str(a), str(b)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        '  layer "c1" (Convolution)', "    - num_output: 4", "    + num_output: 5",
        '- layer "Pooling_p" (Pooling)', '+ layer "TanH_t" (TanH)']
    b.write_text("\n".join([LAYERS[0], LAYERS[3].replace('bottom: "a"', 'bottom: "x"'), *LAYERS[1:3]]))
    assert diff.main([str(a), str(b)]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "  the order of the layers"


def test_weights_are_compared_by_layer_and_value(tmp_path, capsys):
    net, other = nets(INPUT, conv("c/1", "x", "a"), conv("c2", "a", "b"))
    paths = [str(tmp_path / name) for name in ("a.caffemodel", "a.h5", "b.caffemodel", "c.h5")]
    net.save(paths[0])
    net.save_hdf5(paths[1])
    assert diff.main(paths[:2]) == 0
    other.params["c2"][1].data[2] += 0.5
    other.save(paths[2])
    capsys.readouterr()
    assert diff.main(paths[1:3]) == 1
    assert capsys.readouterr().out.startswith(
        '  layer "c2" parameter 1: 1 of 4 values differ, by at most 0.5, ')
    nets(INPUT, conv("c/1", "x", "a", outputs=5), conv("c3", "a", "d"), count=1)[0].save_hdf5(paths[3])
    assert diff.main([paths[0], paths[3]]) == 1
    assert capsys.readouterr().out.splitlines() == [
        '  layer "c/1" parameter 0: shape (4, 3, 3, 3), (5, 3, 3, 3)',
        '  layer "c/1" parameter 1: shape (4,), (5,)',
        '- layer "c2": (4, 4, 3, 3), (4,)', '+ layer "c3": (4, 5, 3, 3), (4,)']


def test_a_net_and_weights_are_not_compared(net, tmp_path, capsys):
    (tmp_path / "net.prototxt").write_text("\n".join(LAYERS))
    net.save(str(tmp_path / "w.caffemodel"))
    assert diff.main([str(tmp_path / "net.prototxt"), str(tmp_path / "w.caffemodel")]) == 1
    assert "give two of a kind" in capsys.readouterr().err
