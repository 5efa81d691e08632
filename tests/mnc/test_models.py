"""The generated nets: equal to the contract where there is one, and to the files in models/."""

from __future__ import annotations

import csv
import runpy
from pathlib import Path

import pytest
from google.protobuf import text_format

import caffe
from caffe.engine.formats.prototxt import read_net, read_solver
from caffe.proto import caffe_pb2
from mnc.config import cfg, cfg_from_file
from mnc.nets import NETS, NetError, generate, generate_all, generate_command
from mnc.nets.prototxt import Enum, message

ROOT = Path(__file__).resolve().parents[2]
CONTRACT = Path(__file__).parent / "contract"
NAMES_AND_MULTIPLIERS = ("name", "type", "bottom", "top", "param", "propagate_down", "loss_weight")
MULTIPLIERS = "params (name lr_mult decay_mult)"


def rows(task: str, phase: str) -> list[dict[str, str]]:
    """The contract: a row a layer; the rows `in` are the net's inputs."""
    with open(CONTRACT / f"vgg16_{task}_{phase}.csv", newline="") as file:
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
@pytest.mark.parametrize("task", ["mnc_5stage", "mnc_3stage", "cfm", "faster_rcnn_end2end"])
def test_vgg16_equals_the_contract_field_by_field(task, phase):
    net = read_net(str(ROOT / f"models/VGG16/{task}/{phase}.prototxt"))
    wanted = [row for row in rows(task, phase) if row["#"] != "in"]
    layers = [layer for layer in net.layer if layer.type != "Input"]  # `input:` is read as a layer
    assert [layer.name for layer in layers] == [row["name"] for row in wanted]
    for layer, row in zip(layers, wanted):
        assert described(layer) == {key: row[key] for key in described(layer)}
        expected = caffe_pb2.LayerParameter()
        text_format.Parse(row["settings"], expected)
        assert settings(layer) == expected, layer.name


@pytest.mark.parametrize("task", ["mnc_5stage", "mnc_3stage", "cfm", "faster_rcnn_end2end"])
def test_inputs_of_the_test_net_are_those_of_the_contract(task):
    net = read_net(str(ROOT / f"models/VGG16/{task}/test.prototxt"))
    shapes = [f"shape {'x'.join(map(str, shape.dim))}" for shape in net.layer[0].input_param.shape]
    assert list(zip(net.layer[0].top, shapes)) == [(row["name"], row["settings"])
                                                   for row in rows(task, "test")
                                                   if row["#"] == "in"]


@pytest.mark.parametrize("task, name, prefix", [
    ("mnc_5stage", "VGG16", "vgg16_mnc_5stage"), ("cfm", "VGG16", "cfm"),
    ("faster_rcnn_end2end", "VGG_ILSVRC_16_layers", "vgg16_faster_rcnn"),
])
def test_names_of_the_public_nets_and_snapshots(task, name, prefix):
    folder = ROOT / "models/VGG16" / task
    for phase in ("train", "test"):
        assert read_net(str(folder / f"{phase}.prototxt")).name == name
    assert read_solver(str(folder / "solver.prototxt")).snapshot_prefix == prefix


def test_the_files_in_models_are_what_the_generator_writes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written = generate_all("models")
    files = {path.relative_to(ROOT) for path in ROOT.glob("models/*/*/*.prototxt")}
    assert len(files) == 99 and set(written) == files
    for path in written:
        assert path.read_text() == (ROOT / path).read_text(), f"run models/generate.py: {path}"


@pytest.mark.parametrize("phase", ["train", "test"])
@pytest.mark.parametrize("net, task", [
    ("Mini", "mnc_5stage"), ("Mini", "mnc_3stage"), ("Mini", "cfm"),
    ("Lite0", "mnc_5stage"), ("Lite0", "mnc_3stage"),
    ("Mini", "faster_rcnn_end2end"),
    ("ZF", "mnc_5stage"), ("ZF", "mnc_3stage"), ("ZF", "faster_rcnn_end2end"),
])
def test_other_nets_have_the_wiring_of_the_contract(net, task, phase):
    """Behind the backbone: the same layers, blobs, parameter names and flags."""
    start = "roi_pooling_conv5" if task == "cfm" else \
        "rpn_conv/3x3" if task == "faster_rcnn_end2end" else "rpn_conv_3x3"
    heads = []
    for name, features in ((net, NETS[net].features), ("VGG16", "conv5_3")):
        layers = read_net(str(ROOT / f"models/{name}/{task}/{phase}.prototxt")).layer
        names = [layer.name for layer in layers]
        for layer in layers:
            layer.bottom[:] = ["features" if b == features else b for b in layer.bottom]
        heads.append([described(layer) for layer in layers][names.index(start):])
    assert heads[0] == heads[1]


@pytest.mark.parametrize("phase", ["train", "test"])
@pytest.mark.parametrize("net", ["VGG16", "ZF", "ResNet50", "ResNet101", "ResNet50v1.5", "Mini", "Lite0"])
def test_three_stages_are_the_first_of_the_five(net, phase):
    """So weights trained with three stages are weights for five."""
    three, five = (list(read_net(str(ROOT / f"models/{net}/{task}/{phase}.prototxt")).layer)
                   for task in ("mnc_3stage", "mnc_5stage"))
    assert three == five[:len(three)]
    later = [layer for layer in five[len(three):] if layer.type in ("InnerProduct", "Convolution")]
    owners = {p.name for layer in three for p in layer.param}
    assert later and all(p.name in owners for layer in later for p in layer.param)


@pytest.mark.parametrize("net", ["VGG16", "ZF", "ResNet50", "ResNet101", "Mini"])
def test_the_papers_own_variant(net):
    """Exact warping and resizing, masks of 28, weights 1, both passes alike in test as well."""
    for phase in ("train", "test"):
        found = {layer.name: layer for layer in
                 read_net(str(ROOT / f"models/{net}/mnc_5stage_paper/{phase}.prototxt")).layer}
        assert found["mask_pred_ext"].inner_product_param.num_output == 28**2
        weights = {w for layer in found.values() for w in layer.loss_weight}
        assert weights == ({1} if phase == "train" else set())
        warps = [n for n, layer in found.items() if layer.type == "ROIWarping"]
        block = NETS[net].block
        assert warps == [f"roi_interpolate_conv{block}{s}_premax" for s in ("", "_ext")]
        for name in (*warps, "mask_resize", "mask_resize_ext"):
            layer = found[name]
            options = layer.roi_warping_param if name in warps else layer.mask_resize_param
            assert options.mode == options.EXACT
        assert len({found[name].roi_warping_param.pooled_h for name in warps}) == 1


@pytest.mark.parametrize("path", sorted(ROOT.glob("experiments/cfgs/*/*.yml")),
                         ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_configuration_fits_the_net(path):
    cfg_from_file(path)
    folder = ROOT / "models" / path.parent.name / path.stem
    net, train = (read_net(str(folder / f"{phase}.prototxt")) for phase in ("test", "train"))
    found = {layer.name: layer for layer in net.layer}
    if "mask_pred" in found:
        assert found["mask_pred"].inner_product_param.num_output == cfg.MASK_SIZE**2
    if "rpn_cls_score" in found:
        anchors = len(cfg.ANCHOR_SCALES) * len(cfg.ANCHOR_RATIOS)
        assert found["rpn_cls_score"].convolution_param.num_output == 2 * anchors
    if cfg.CFM_MODE:
        sides = {cfg.TRAIN.CFM_INPUT_MASK_SIZE, cfg.TEST.CFM_INPUT_MASK_SIZE}
        assert sides == {net.layer[0].input_param.shape[2].dim[-1]}
    assert ("gt_masks" in train.layer[0].top) == cfg.MNC_MODE
    exact = {cfg.COMPAT[key] for key in ("PROPOSAL_GRADIENT", "BRIDGE_GRADIENT", "BRIDGE_DELTAS",
                                         "MASK_GRADIENT")}
    assert (exact == {"exact"}) == path.stem.endswith("_paper")


@pytest.mark.parametrize("net", ["ResNet50", "ResNet101"])
@pytest.mark.parametrize("task", ["mnc_5stage", "mnc_3stage", "faster_rcnn_end2end"])
def test_resnets_take_the_published_weights_by_name(real_material, net, task):
    """Every layer of the ImageNet net up to conv5, with the same input, options and blobs."""
    depth = net.removeprefix("ResNet")
    deploy = read_net(str(real_material / "prototxts/resnet_kaiming/prototxt"
                          / f"ResNet-{depth}-deploy.prototxt"))
    ours = {layer.name: layer for layer in
            read_net(str(ROOT / f"models/{net}/{task}/train.prototxt")).layer}
    region = "pool4" if task == "faster_rcnn_end2end" else "roi_interpolate_conv4"
    layers = [layer for layer in deploy.layer
              if layer.name not in ("input", "pool5", "fc1000", "prob")]
    assert len(layers) > 150
    for layer in layers:
        mine = ours[layer.name]
        on_region = layer.name in ("res5a_branch1", "res5a_branch2a")
        assert list(mine.bottom) == ([region] if on_region else list(layer.bottom)), layer.name
        assert (mine.type, mine.top, settings(mine)) == (layer.type, layer.top, settings(layer))
        if layer.type in ("BatchNorm", "Scale"):
            assert all(p.lr_mult == 0 and p.decay_mult == 0 for p in mine.param) and mine.param


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
    (dict(net="Mimi", task="mnc_5stage"), "there are: VGG16, ZF, ResNet50, ResNet101, ResNet50v1.5, ResNet101v1.5, Lite0, Mini"),
    (dict(net="ZF", task="cfm"),
     "there are: mnc_5stage, mnc_3stage, mnc_5stage_paper, mnc_separate, faster"),
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


def test_files_of_a_user_are_not_written_over(tmp_path):
    solver = generate("Mini", "mnc_5stage", tmp_path, classes=4)[-1]
    generate("Mini", "mnc_5stage", tmp_path, classes=5)         # its own are
    solver.write_text("base_lr: 0.5  # mine")
    before = {path: path.read_text() for path in tmp_path.iterdir()}
    with pytest.raises(NetError, match="solver.prototxt: no generated file"):
        generate("Mini", "mnc_5stage", tmp_path, classes=4)
    assert {path: path.read_text() for path in tmp_path.iterdir()} == before


def test_text_of_a_message():
    fields = {"name": "a\"b", "dim": [1, -1], "pool": Enum("MAX"), "flag": True, "none": None,
              "inner": {"x": 0.5}}
    assert message(fields) == ['name: "a\\"b"', "dim: 1", "dim: -1", "pool: MAX", "flag: true",
                               "inner { x: 0.5 }"]


def test_the_script_writes_one_net_or_all(tmp_path, capsys):
    script = runpy.run_path(str(ROOT / "models/generate.py"))["main"]
    assert script(["--net", "ZF", "--task", "mnc_3stage", "--classes", "81", "--anchors", "12",
                   "--context", "--out", str(tmp_path / "one")]) == 0
    train = (tmp_path / "one/train.prototxt").read_text()
    assert "--classes 81 --anchors 12 --context" in train and "context_of_roi" in train
    assert script(["--classes", "3", "--out", str(tmp_path / "all")]) == 0
    assert len(list((tmp_path / "all").glob("*/*/test.prototxt"))) == 33
    assert script(["--context", "--out", str(tmp_path)]) == 2
    assert "--context needs --net" in capsys.readouterr().err
