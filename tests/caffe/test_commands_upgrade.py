"""The three upgrade tools: what they write is current, and means the same."""

from __future__ import annotations

from pathlib import Path

import pytest

import caffe
from caffe.commands import upgrade
from caffe.engine.formats.prototxt import read_message, read_net, read_solver
from caffe.proto import caffe_pb2

V1 = """
name: "old"
input: "data" input_dim: 2 input_dim: 3 input_dim: 5 input_dim: 7
layers { name: "ip" type: INNER_PRODUCT bottom: "data" top: "ip" blobs_lr: 1 blobs_lr: 2
  inner_product_param { num_output: 4 } }
layers { name: "relu" type: RELU bottom: "ip" top: "ip" }
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_net_text(capsys):
    Path("old").write_text(V1)
    assert upgrade.net_text(["old", "new"]) == 0
    new = read_message("new", caffe_pb2.NetParameter())
    assert [layer.type for layer in new.layer] == ["Input", "InnerProduct", "ReLU"]
    assert not new.layers and not new.input
    assert new == read_net("old")
    assert "Wrote upgraded NetParameter text proto to new" in capsys.readouterr().err


def test_a_current_file_is_written_too(capsys):
    Path("old").write_text(V1)
    upgrade.net_text(["old", "new"])
    assert upgrade.net_text(["new", "newer"]) == 0
    assert Path("newer").read_text() == Path("new").read_text()
    assert "File already in latest proto format: new" in capsys.readouterr().err


def test_net_binary(capsys):
    param = read_message(V1, caffe_pb2.NetParameter())
    param.layers[0].blobs.add(num=1, channels=1, height=4, width=105, data=range(420))
    param.layers[0].blobs.add(num=1, channels=1, height=1, width=4, data=range(4))
    Path("old").write_bytes(param.SerializeToString())
    assert upgrade.net_binary(["old", "new"]) == 0
    new = caffe_pb2.NetParameter.FromString(Path("new").read_bytes())
    assert [layer.type for layer in new.layer] == ["Input", "InnerProduct", "ReLU"]
    Path("net").write_text(V1)
    net = caffe.Net("net", caffe.TEST, weights="new")
    assert net.params["ip"][0].data.ravel().tolist() == list(range(420))


def test_solver_text(capsys):
    Path("old").write_text('net: "n" solver_type: ADAGRAD base_lr: 0.5')
    assert upgrade.solver_text(["old", "new"]) == 0
    new = read_message("new", caffe_pb2.SolverParameter())
    assert new.type == "AdaGrad" and not new.HasField("solver_type") and new == read_solver("old")
    assert "Wrote upgraded SolverParameter text proto to new" in capsys.readouterr().err


@pytest.mark.parametrize("tool", [upgrade.net_text, upgrade.net_binary, upgrade.solver_text])
@pytest.mark.parametrize("argv, message", [
    (["nowhere", "new"], "nowhere"), (["old"], "takes IN and OUT, got 1"),
    (["old", "new", "-x"], "unknown flag --x")])
def test_errors(tool, argv, message, capsys):
    assert tool(argv) == 1
    assert message in capsys.readouterr().err
    assert not Path("new").exists()


def test_a_file_that_cannot_be_upgraded_is_named(capsys):
    Path("old").write_text(V1 + 'layer { name: "new" type: "ReLU" bottom: "ip" top: "ip" }')
    assert upgrade.net_text(["old", "new"]) == 1
    assert 'old: net "old" mixes "layers"' in capsys.readouterr().err
