"""The generated nets: equal to the contract where there is one, and to the files in models/."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from google.protobuf import text_format

import caffe
from caffe.engine.prototxt import read_net, read_solver
from caffe.proto import caffe_pb2
from mnc.config import cfg_from_file
from mnc.nets import NetError, generate, generate_all, generate_command
from mnc.nets.prototxt import Enum, message

ROOT = Path(__file__).resolve().parents[2]
CONTRACT = Path(__file__).parent / "contract"
NAMES_AND_MULTIPLIERS = ("name", "type", "bottom", "top", "param", "propagate_down", "loss_weight")
MULTIPLIERS = "params (name lr_mult decay_mult)"


def rows(phase: str) -> list[dict[str, str]]:
    """The contract: a row a layer; the rows `in` are the net's inputs."""
    with open(CONTRACT / f"vgg16_mnc_5stage_{phase}.csv", newline="") as file:
        return list(csv.DictReader(file))


def described(layer) -> dict[str, str]:
    """A layer in the columns of the contract."""
    multipliers = (f"{p.name or '-'} {p.lr_mult:g} {p.decay_mult:g}" for p in layer.param)
    return {
        "name": layer.name, "type": layer.type,
        "bottoms": " ".join(layer.bottom), "tops": " ".join(layer.top),
        "propagate_down": " ".join(str(int(flag)) for flag in layer.propagate_down),
        MULTIPLIERS: "; ".join(multipliers),
        "loss_weight": " ".join(f"{w:g}" for w in layer.loss_weight),
    }


def settings(layer) -> caffe_pb2.LayerParameter:
    """The type's own message alone."""
    rest = caffe_pb2.LayerParameter()
    rest.CopyFrom(layer)
    for field in NAMES_AND_MULTIPLIERS:
        rest.ClearField(field)
    return rest


@pytest.mark.parametrize("phase", ["train", "test"])
def test_vgg16_equals_the_contract_field_by_field(phase):
    net = read_net(str(ROOT / f"models/VGG16/mnc_5stage/{phase}.prototxt"))
    wanted = [row for row in rows(phase) if row["#"] != "in"]
    layers = [layer for layer in net.layer if layer.type != "Input"]  # `input:` is read as a layer
    assert [layer.name for layer in layers] == [row["name"] for row in wanted]
    for layer, row in zip(layers, wanted):
        assert described(layer) == {key: row[key] for key in described(layer)}
        expected = caffe_pb2.LayerParameter()
        text_format.Parse(row["settings"], expected)
        assert settings(layer) == expected, layer.name


def test_inputs_of_the_test_net_are_those_of_the_contract():
    net = read_net(str(ROOT / "models/VGG16/mnc_5stage/test.prototxt"))
    shapes = [f"shape {'x'.join(map(str, shape.dim))}" for shape in net.layer[0].input_param.shape]
    assert list(zip(net.layer[0].top, shapes)) == [(row["name"], row["settings"])
                                                   for row in rows("test") if row["#"] == "in"]


def test_the_files_in_models_are_what_the_generator_writes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written = generate_all("models")
    assert len(written) == 6
    for path in written:
        assert path.read_text() == (ROOT / path).read_text(), f"run models/generate.py: {path}"


@pytest.mark.parametrize("phase", ["train", "test"])
def test_mini_has_the_wiring_of_the_contract(phase):
    """Behind the backbone: the same layers, blobs, parameter names and flags."""
    mini, vgg16 = (read_net(str(ROOT / f"models/{net}/mnc_5stage/{phase}.prototxt"))
                   for net in ("Mini", "VGG16"))
    start = "rpn_conv_3x3"
    heads = []
    for net in (mini, vgg16):
        names = [layer.name for layer in net.layer]
        heads.append([described(layer) for layer in net.layer][names.index(start):])
    assert heads[0] == heads[1]


def test_mini_fits_in_ten_megabytes(tmp_path):
    cfg_from_file(ROOT / "experiments/cfgs/Mini/mnc_5stage.yml")
    net = caffe.Net(str(ROOT / "models/Mini/mnc_5stage/train.prototxt"), caffe.TRAIN)
    assert sum(blob.count for blob in net.learnable_params) < 2.4e6
    net.save_hdf5(str(tmp_path / "weights.h5"))
    assert (tmp_path / "weights.h5").stat().st_size < 10e6


def test_numbers_of_classes_and_anchors(tmp_path):
    train, test, _ = generate("Mini", "mnc_5stage", tmp_path, classes=4, anchors=6)
    for path in (train, test):
        layers = {layer.name: layer for layer in read_net(str(path)).layer}
        assert layers["cls_score"].inner_product_param.num_output == 4
        assert layers["bbox_pred_ext"].inner_product_param.num_output == 16
        assert layers["rpn_cls_score"].convolution_param.num_output == 12
        assert layers["rpn_bbox_pred"].convolution_param.num_output == 24
        assert list(layers["rpn_cls_prob_reshape"].reshape_param.shape.dim) == [0, 12, -1, 0]
    layers = {layer.name: layer for layer in read_net(str(train)).layer}
    for name in ("input-data", "roi-data", "stage_bridge"):
        assert "'num_classes': 4" in layers[name].python_param.param_str


def test_the_solver_names_the_train_net_beside_it(tmp_path):
    train, _, solver = generate("Mini", "mnc_5stage", tmp_path, classes=3)
    assert Path(read_solver(str(solver)).train_net) == train


@pytest.mark.parametrize("options, complaint", [
    (dict(net="Mimi", task="mnc_5stage"), "there are: VGG16 mnc_5stage, Mini mnc_5stage"),
    (dict(net="Mini", task="mnc_5stage", classes=1), "the background counts"),
    (dict(net="Mini", task="mnc_5stage", anchors=0), "anchors must be 1 or more"),
])
def test_what_cannot_be_generated_is_said(tmp_path, options, complaint):
    with pytest.raises(NetError, match=complaint):
        generate(folder=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_the_command_is_in_the_file(tmp_path):
    train = generate("Mini", "mnc_5stage", tmp_path, classes=4)[0]
    assert generate_command("Mini", "mnc_5stage", 4) in train.read_text().splitlines()[0]


def test_text_of_a_message():
    fields = {"name": "a\"b", "dim": [1, -1], "pool": Enum("MAX"), "flag": True, "none": None,
              "inner": {"x": 0.5}}
    assert message(fields) == ['name: "a\\"b"', "dim: 1", "dim: -1", "pool: MAX", "flag: true",
                               "inner { x: 0.5 }"]
