"""From an ImageNet model to the weights a cascade starts from."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

import caffe
from caffe.engine.formats.weights import read_caffemodel, to_blob_proto
from caffe.proto import caffe_pb2
from mnc.cli import main
from mnc.nets.mask_init import default_output, double_head, make_mask_init

ROOT = Path(__file__).resolve().parents[2]
VGG = """
name: "small VGG"
layer { name: "data" type: "Input" top: "data"
        input_param { shape { dim: 1 dim: 3 dim: 4 dim: 4 } } }
layer { name: "conv5_3" type: "Convolution" bottom: "data" top: "conv5_3"
        convolution_param { num_output: 2 kernel_size: 1 weight_filler { type: "msra" } } }
layer { name: "fc6" type: "InnerProduct" bottom: "conv5_3" top: "fc6"
        inner_product_param { num_output: 5 weight_filler { type: "msra" } } }
layer { name: "relu6" type: "ReLU" bottom: "fc6" top: "fc6" }
layer { name: "fc7" type: "InnerProduct" bottom: "fc6" top: "fc7"
        inner_product_param { num_output: 3 weight_filler { type: "msra" } } }
layer { name: "fc8" type: "InnerProduct" bottom: "fc7" top: "fc8"
        inner_product_param { num_output: 7 weight_filler { type: "msra" } } }
"""


@pytest.fixture
def model(tmp_path) -> Path:
    (tmp_path / "net.prototxt").write_text(VGG)
    path = tmp_path / "VGG16.v2.caffemodel"
    caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST).save(str(path))
    return path


def weights(path) -> dict[str, list[np.ndarray]]:
    return {layer.name: [np.array(blob.data) for blob in layer.blobs]
            for layer in read_caffemodel(path).layer if layer.blobs}


def test_the_command_doubles_the_head(model, capsys):
    assert main(["make_mask_init", str(model)]) == 0
    made = model.with_name("VGG16.mask.caffemodel")
    assert capsys.readouterr().out == f"{made}: fc6 -> fc6_mask, fc7 -> fc7_mask\n"
    before, after = weights(model), weights(made)
    assert set(after) == {*before, "fc6_mask", "fc7_mask"}
    for name, blobs in after.items():
        for blob, original in zip(blobs, before[name.removesuffix("_mask")], strict=True):
            np.testing.assert_array_equal(blob, original)


def test_a_net_with_a_masked_path_loads_it(model, tmp_path):
    made = tmp_path / "made.caffemodel"
    make_mask_init(model, made)
    masked = VGG.replace('"fc6"', '"fc6_mask"').replace('"fc7"', '"fc7_mask"')
    (tmp_path / "masked.prototxt").write_text(masked)
    net = caffe.Net(str(tmp_path / "masked.prototxt"), str(made), caffe.TEST)
    np.testing.assert_array_equal(net.params["fc6_mask"][0].data.ravel(), weights(model)["fc6"][0])


@pytest.mark.parametrize("names, copied", [
    (["fc6", "fc7", "fc8", "conv5_3"], ["fc6", "fc7"]),
    (["res4f_branch2c", "res5a_branch1", "bn5a_branch1", "scale5c_branch2b", "fc1000"],
     ["res5a_branch1", "bn5a_branch1", "scale5c_branch2b"]),
    (["fc6", "fc6_mask", "fc7"], ["fc7"]),
])
def test_which_layers_are_copied_in_formats_of_any_age(names, copied):
    for field in ("layer", "layers", "V0"):
        message = caffe_pb2.NetParameter()
        for name in names:
            layer = getattr(message, "layer" if field == "layer" else "layers").add()
            layer = layer.layer if field == "V0" else layer
            layer.name = name
            layer.blobs.append(to_blob_proto(torch.arange(3.0)))
        assert double_head(message) == copied
        assert double_head(message) == []


def test_a_model_without_a_head_is_an_error(model, tmp_path, capsys):
    message = read_caffemodel(model)
    del message.layer[2:]
    other = tmp_path / "other.caffemodel"
    other.write_bytes(message.SerializeToString())
    assert main(["make_mask_init", str(other)]) == 1
    assert "no layer fc6, fc7" in capsys.readouterr().err
    assert not default_output(other).exists()


def test_the_tool_is_this_command(model, monkeypatch):
    monkeypatch.setattr("sys.argv", ["make_mask_init.py", str(model)])
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / "tools/make_mask_init.py"), run_name="__main__")
    assert end.value.code == 0


def test_the_model_itself_is_not_written_over(model, capsys):
    before = model.read_bytes()
    assert main(["make_mask_init", str(model), str(model.parent / "." / model.name)]) == 1
    assert "would be written over the model" in capsys.readouterr().err
    assert model.read_bytes() == before
