"""Every net under models/, with few channels: forward and backward in training, forward in testing.

Wiring, parameter names and configuration are those of the checked-in nets; widths are cut down.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format

import caffe
from caffe.proto import caffe_pb2
from mnc.config import cfg, cfg_from_file
from mnc.data import get_dataset
from mnc.data.roidb import prepare
from mnc.nets import NETS, TASKS, Layout
from mnc.nets.backbones import (
    Bottleneck,
    Conv,
    Fillers,
    Inverted,
    LiteStem,
    Sizes,
    Stem,
    filler,
)
from mnc.nets.generate import net_texts
from mnc.nets.layout import PLAIN
from mnc.nets.solvers import SOLVERS

ROOT = Path(__file__).resolve().parents[2]
MSRA = filler("msra")
CLASSES = 6                            # of the scenes
OUTPUTS = {
    "mnc_5stage": ["rois", "mask_proposal", "cls_prob", "seg_cls_prob", "bbox_pred",
                   "rois_ext", "mask_proposal_ext", "cls_prob_ext", "seg_cls_prob_ext",
                   "bbox_pred_ext"],
    "mnc_3stage": ["rois", "mask_proposal", "cls_prob", "seg_cls_prob", "bbox_pred"],
    "cfm": ["mask_prob", "cls_prob", "seg_cls_prob", "bbox_pred"],
    "faster_rcnn_end2end": ["rois", "cls_prob", "bbox_pred"],
}
OUTPUTS["mnc_5stage_paper"] = OUTPUTS["mnc_separate"] = OUTPUTS["mnc_5stage"]


def thin(row):
    if isinstance(row, (Conv, Stem)):
        return replace(row, channels=5)
    if isinstance(row, LiteStem):
        return replace(row, channels=4)
    if isinstance(row, Inverted):
        return replace(row, channels=row.channels // 8, inputs=row.inputs // 8, expand=min(row.expand, 2))
    return replace(row, inner=4) if isinstance(row, Bottleneck) else row


def small(net: str, task: str, layout: Layout = PLAIN, **changes: object) -> Sizes:
    """The net with all its layers, each a few channels wide, that starts from random weights."""
    sizes = NETS[net]
    made = replace(
        sizes, **TASKS[task].changes, **changes, backbone=tuple(map(thin, sizes.backbone)),
        head=tuple(map(thin, sizes.head)), coarser=tuple(map(thin, sizes.coarser)), rpn=6, mask_hidden=7, fc6=9, fc7=8, classes=CLASSES,
        pyramid=5, fillers=Fillers(conv=MSRA, rpn=MSRA, mask_hidden=MSRA, hidden=MSRA))
    return made if layout == PLAIN else layout.of(made)


@pytest.fixture
def build(tmp_path):
    """(net, task, phase) -> caffe.Net under the net's own configuration, for small images."""
    def build(net: str, task: str, phase: str, **changes: Any):
        caffe.set_random_seed(3)
        cfg_from_file(ROOT / f"experiments/cfgs/{net}/{task}.yml")
        cfg.ANCHOR_SCALES = [2, 4, 6]
        for section in (cfg.TRAIN, cfg.TEST):
            section.SCALES, section.MAX_SIZE = (96,), 128
            section.RPN_PRE_NMS_TOP_N, section.RPN_POST_NMS_TOP_N = 200, 12
        cfg.TRAIN.BATCH_SIZE = 16
        path, sizes = tmp_path / f"{phase}.prototxt", small(net, task, **changes)
        cfg.MASK_SIZE = sizes.mask_size
        text = net_texts(net, task, sizes)[phase]
        path.write_text(fed(text) if (task, phase) == ("cfm", "train") else text)
        made = caffe.Net(str(path), caffe.TRAIN if phase == "train" else caffe.TEST)
        tame(made)
        return made
    return build


def cfm_batch(rois: int = 8) -> dict[str, np.ndarray]:
    """What CFMDataLayer gives: half of the RoIs foreground."""
    side, s, k = cfg.TRAIN.CFM_INPUT_MASK_SIZE, cfg.MASK_SIZE, 4 * CLASSES
    labels = np.arange(rois) % CLASSES * (np.arange(rois) < rois // 2)
    column = labels[:, None]
    inside = np.repeat(np.eye(CLASSES)[labels] * (labels > 0)[:, None], 4, axis=1)
    random = np.random.rand
    return {"data": np.random.randn(1, 3, 96, 128) * 50,
            "rois": np.array([[0, 8, 8, 40 + 8 * i, 70] for i in range(rois)]),
            "masks": random(rois, 1, side, side) > 0.5, "box_labels": column, "mask_labels": column,
            "bbox_targets": random(rois, k) * inside, "mask_targets": random(rois, 1, s, s) > 0.5,
            "bbox_inside_weights": inside, "bbox_outside_weights": inside,
            "mask_weight": np.ones((rois, 1, s, s)) * (labels > 0)[:, None, None, None]}


def test_the_batch_of_cfm_has_the_shapes_of_its_data_layer(tmp_path):
    cfg_from_file(ROOT / "experiments/cfgs/Mini/cfm.yml")
    text = net_texts("Mini", "cfm", small("Mini", "cfm"))["train"]
    (tmp_path / "net.prototxt").write_text(text)
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TRAIN)
    for name, array in cfm_batch().items():
        if name != "data":
            assert net.blobs[name].data.shape[1:] == array.shape[1:], name


def fed(train_net: str) -> str:
    """The train net with inputs in place of its data layer."""
    message = caffe_pb2.NetParameter()
    text_format.Parse(train_net, message)
    data = message.layer[0]
    assert (data.name, list(data.top)) == ("input-data", list(cfm_batch()))
    data.ClearField("python_param")
    data.type = "Input"
    for array in cfm_batch().values():
        data.input_param.shape.add(dim=array.shape)
    return text_format.MessageToString(message)


def tame(net) -> None:
    """Statistics as if from ImageNet, and residuals too small to add up over many blocks."""
    for layer in net.layers:
        if layer.type == "BatchNorm":
            variance = 100**2 if layer.name == "bn_conv1" else 1
            for blob, value in zip(layer.blobs, (0, variance, 1)):
                blob.data[...] = value
        elif layer.type == "Scale" and "branch2c" in layer.name:
            layer.blobs[0].data[...] = 0.2


@pytest.fixture(scope="session")
def scenes(tiny_scenes):
    return prepare(get_dataset(f"sbd:{tiny_scenes}:train"), use_flipped=False)


def trained_once(net, scenes) -> list[str]:
    """Forward and backward; returns the layers that learn but have got no gradient."""
    if cfg.CFM_MODE:
        for name, value in cfm_batch().items():
            net.blobs[name].data[...] = value
    else:
        net.layers[0].set_roidb(scenes[0])
    if cfg.MNC_MODE:
        net.layers[0].set_maskdb(scenes[1])
    net.clear_param_diffs()
    loss = net.forward_backward()
    assert np.isfinite(loss) and loss > 0
    diffs = {name: [blob.diff for blob in blobs] for name, blobs in net.params.items()}
    assert all(np.isfinite(diff).all() for blobs in diffs.values() for diff in blobs)
    rates = {id(blob): rate for blob, rate in zip(net.learnable_params, net.params_lr)}
    learning = [name for name, blobs in net.params.items() if rates.get(id(blobs[0]))]
    return [name for name in learning if not diffs[name][0].any()]


NETS_AND_TASKS = [pytest.param(net, task, id=f"{net}-{task}") for net, task in SOLVERS]


@pytest.mark.parametrize("net, task", NETS_AND_TASKS)
def test_training(build, scenes, net, task):
    assert trained_once(build(net, task, "train"), scenes) == []


@pytest.mark.parametrize("net, task", NETS_AND_TASKS)
def test_testing(build, net, task):
    made = build(net, task, "test")
    check_outputs(made, task)
    named = {layer.name for layer in made.layers if layer.blobs}
    trained = {layer.name for layer in build(net, task, "train").layers if layer.blobs}
    if task == "mnc_separate":         # three stages to train, five to test
        named = {name for name in named if not name.endswith("_ext")}
    assert named == trained


def check_outputs(net, task: str) -> None:
    """Forward on one random image; then every output is there, a row a RoI."""
    if task == "cfm":
        batch = cfm_batch()
        inputs = {name: batch[name] for name in ("data", "rois", "masks")}
    else:
        inputs = {"data": np.random.randn(1, 3, 96, 128) * 50, "im_info": np.array([[96, 128, 1]])}
    for name, value in inputs.items():
        net.blobs[name].reshape(*value.shape)
    net.forward(**{name: value.astype(np.float32) for name, value in inputs.items()})
    rows, side = len(net.blobs["rois"].data), cfg.MASK_SIZE
    shapes = {"rois": (5,), "mask_proposal": (1, side, side), "mask_prob": (side * side,),
              "cls_prob": (CLASSES,), "seg_cls_prob": (CLASSES,), "bbox_pred": (4 * CLASSES,)}
    for name in OUTPUTS[task]:
        blob = net.blobs[name].data
        assert blob.shape == (rows, *shapes[name.removesuffix("_ext")]), name
        assert np.isfinite(blob).all(), name


@pytest.mark.parametrize("net, task", [("VGG16", "mnc_5stage"), ("ResNet50", "mnc_5stage"),
                                       ("Mini", "mnc_3stage"), ("Mini", "cfm"),
                                       ("VGG16", "faster_rcnn_end2end"),
                                       ("ResNet50", "faster_rcnn_end2end")])
def test_global_context(build, scenes, net, task):
    """The classifier sees the whole image, in training and testing, and it learns."""
    train = build(net, task, "train", context=True)
    without = build(net, task, "train")
    assert trained_once(train, scenes) == []
    width = 16 if net == "ResNet50" else 8
    for name in ("cls_score", "bbox_pred"):
        wide, narrow = (n.params[name][0].shape[1] for n in (train, without))
        assert wide == narrow + width
    check_outputs(build(net, task, "test", context=True), task)


def test_every_roi_gets_the_context_of_its_image(build, scenes):
    net = build("Mini", "mnc_5stage", "train", context=True)
    trained_once(net, scenes)
    for suffix in ("", "_ext"):
        rows = net.blobs[f"context_of_roi{suffix}_row"].data
        assert len(rows) == len(net.blobs[f"rois{suffix}"].data) > 1
        assert (rows == net.blobs["fc7_context"].data).all()


def test_the_context_of_a_resnet_is_the_box_path_on_the_whole_map(build):
    net = build("ResNet50", "mnc_3stage", "test", context=True)
    assert net.params["res5c_branch2b"][0].data is not None
    for layer in ("res5a_branch1", "bn5a_branch1", "scale5a_branch1", "res5c_branch2c"):
        for own, context in zip(net.params[layer], net.params[f"{layer}_context"]):
            own.data[...] += 1
            np.testing.assert_array_equal(own.data, context.data)


PYRAMIDS = [(net, task) for net in NETS for task in ("mnc_5stage", "faster_rcnn_end2end")
            if (net, task) in SOLVERS]


@pytest.mark.parametrize("net, task", PYRAMIDS)
def test_a_feature_pyramid(build, scenes, net, task):
    """It learns everywhere, it finds, and weights of training go into the net for tests."""
    layout = Layout(features="pyramid")
    train = build(net, task, "train", layout=layout)
    coarse = ("p4", "p5")               # few or no anchors and RoIs of these images lie there
    assert not [name for name in trained_once(train, scenes)
                if not any(level in name for level in coarse)]
    test = build(net, task, "test", layout=layout)
    check_outputs(test, task)
    assert {n.name for n in test.layers if n.blobs} == {n.name for n in train.layers if n.blobs}
    strides = [2 ** int(name[1:]) for name in ("p2", "p3", "p4")]
    for name, stride in zip(("p2", "p3", "p4"), strides):
        assert abs(test.blobs[name].shape[2] - 96 / stride) <= 1


@pytest.mark.parametrize("net", [*NETS])
@pytest.mark.parametrize("stride", [4, 8, 16])
def test_strides(build, scenes, net, stride):
    """The features have it, and everything learns."""
    layout = Layout(stride=stride)
    if stride == 16 and net == "Mini":
        assert layout.of(NETS[net]).feat_stride == 16
    train = build(net, "mnc_3stage", "train", layout=layout)
    assert trained_once(train, scenes) == []
    test = build(net, "mnc_3stage", "test", layout=layout)
    check_outputs(test, "mnc_3stage")
    features = small(net, "mnc_3stage", layout).features
    assert abs(test.blobs[features].shape[3] - 128 / stride) <= 1


@pytest.mark.parametrize("net, task, side", [
    ("VGG16", "mnc_5stage", 7), ("VGG16", "cfm", 7), ("VGG16", "faster_rcnn_end2end", 7),
    ("ZF", "mnc_5stage", 6), ("ZF", "faster_rcnn_end2end", 6), ("Mini", "mnc_5stage", 5)])
def test_fc6_takes_what_it_took_on_imagenet(build, net, task, side):
    """Cells of its input: 7x7 for VGG-16, 6x6 for ZF."""
    made = build(net, task, "test")
    for name in ("fc6", "fc6_mask") if task != "faster_rcnn_end2end" else ("fc6",):
        assert made.params[name][0].shape == (9, 5 * side**2)


@pytest.mark.parametrize("task", ["mnc_3stage", "faster_rcnn_end2end"])
def test_conv5_of_a_resnet_takes_14x14_cells_to_7x7(build, task):
    net = build("ResNet50", task, "test")
    check_outputs(net, task)
    assert net.blobs["res5a_branch1"].shape[2:] == net.blobs["res5c"].shape[2:] == (7, 7)


@pytest.mark.parametrize("net", ["ZF", "ResNet50", "Mini"])
def test_five_stages_run_with_weights_of_three(build, tmp_path, net):
    three, five = build(net, "mnc_3stage", "train"), build(net, "mnc_5stage", "test")
    path = str(tmp_path / "three.caffemodel.h5")
    three.save_hdf5(path)
    five.copy_from(path)
    for name, blobs in five.params.items():
        for blob, trained in zip(blobs, three.params[name.removesuffix("_ext")], strict=True):
            np.testing.assert_array_equal(blob.data, trained.data)
