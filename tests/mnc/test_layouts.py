"""Nets with other strides and with feature pyramids: their tables, anchors, commands and refusals."""

from __future__ import annotations

import numpy as np
import pytest

import caffe
from caffe.engine.errors import LayerError
from caffe.engine.formats.prototxt import read_net
from mnc import cli
from mnc.boxes.anchors import anchors_of_maps, generate_anchors
from mnc.config import cfg
from mnc.nets import NETS, Layout, NetError, generate
from mnc.nets.backbones import Pool
from mnc.nets.fit import TrainingError, check_net
from mnc.nets.layout import with_strides


def levels(net, **layout):
    sizes = Layout(features="pyramid", **layout).of(NETS[net])
    return [(level.name, level.stride, level.source) for level in sizes.levels]


def test_the_maps_of_a_pyramid():
    """The last blob of each stride; below three maps the coarsest is halved once more."""
    assert levels("Mini") == [("p2", 4, "conv3_2"), ("p3", 8, "conv5_3"), ("p4", 16, "")]
    assert levels("VGG16", stride=8) == [("p3", 8, "conv4_3"), ("p4", 16, "conv5_3"),
                                         ("p5", 32, "")]
    assert levels("ResNet50") == [("p2", 4, "res2c"), ("p3", 8, "res3d"), ("p4", 16, "res4f"),
                                  ("p5", 32, "res5c")]
    assert levels("ZF")[0] == ("p2", 4, "pool1")


@pytest.mark.parametrize("net", [*NETS])
@pytest.mark.parametrize("stride", [4, 8, 16])
def test_the_stride_asked_for_is_that_of_the_rows(net, stride):
    sizes = Layout(stride=stride).of(NETS[net])
    assert sizes.feat_stride == [*with_strides(sizes.backbone)][-1][1] == stride
    if stride == NETS[net].feat_stride:
        assert sizes == NETS[net]


def test_rows_behind_a_dropped_pooling_look_as_far_as_before():
    sizes = Layout(stride=4).of(NETS["VGG16"])
    assert [row.dilation for row in sizes.backbone if not isinstance(row, Pool)] == \
        [1] * 7 + [2] * 3 + [4] * 3
    blocks = {row.name: (row.stride, row.dilation)
              for row in Layout(stride=8).of(NETS["ResNet50"]).backbone[1:]}
    assert blocks["3a"] == (2, 1) and blocks["4a"] == (1, 1) and blocks["4f"] == (1, 2)


def test_anchors_of_two_maps_by_hand():
    """Of 8 pixels on cells of 4, of 16 on cells of 8, each about the middle of its cell."""
    anchors = anchors_of_maps(generate_anchors(scales=[.5], ratios=[1]), [(1, 2), (1, 1)], [4, 8])
    assert anchors.tolist() == [[-2, -2, 5, 5], [2, -2, 9, 5], [-4, -4, 11, 11]]


def test_the_weights_of_proposals_are_shared_by_the_maps(tmp_path):
    train = read_net(str(generate("Mini", "mnc_5stage", tmp_path, anchors=2,
                                  layout=Layout("pyramid"))[0]))
    names = {layer.name: [p.name for p in layer.param] for layer in train.layer}
    for name in ("rpn_conv_3x3", "rpn_cls_score", "rpn_bbox_pred"):
        assert {tuple(names[f"{name}_p{i}"]) for i in (2, 3, 4)} == {(f"{name}_w", f"{name}_b")}
    warps = [layer for layer in train.layer if layer.type == "ROIWarping"]
    assert len(warps) == 2
    for layer, rois in zip(warps, ("rois", "rois_ext")):
        assert list(layer.bottom) == ["p2", "p3", "p4", rois]
        assert layer.roi_warping_param.spatial_scale == 0.25


def test_masks_of_a_pyramid_are_as_fine_as_the_warped_roi(tmp_path):
    generate("Mini", "mnc_5stage", tmp_path, anchors=2, layout=Layout("pyramid"))
    cfg.ANCHOR_SCALES, cfg.ANCHOR_RATIOS = [1, 2], [1]
    with pytest.raises(TrainingError, match="masks are 20 x 20, .* --set MASK_SIZE 20"):
        check_net(tmp_path / "train.prototxt", "abcdef")
    cfg.MASK_SIZE = 20
    check_net(tmp_path / "train.prototxt", "abcdef")
    net = caffe.Net(str(tmp_path / "test.prototxt"), caffe.TEST)
    first, second = (net.params[f"conv_maskest1{s}"][0].data for s in ("", "_ext"))
    assert np.shares_memory(first, second)


@pytest.mark.parametrize("net", ["VGG16", "ResNet50", "Lite0", "Mini"])
def test_every_map_is_normalised_before_heads_that_all_share(tmp_path, net):
    """Whatever the size of the backbone's values; in tests by the image's own statistics, too."""
    for path in generate(net, "mnc_5stage", tmp_path, anchors=2, layout=Layout("pyramid"))[:2]:
        layers = {layer.name: layer for layer in read_net(str(path)).layer}
        for level, _, _ in levels(net):
            assert [(layers[f"{kind}_{level}"].type, *layers[f"{kind}_{level}"].top)
                    for kind in ("bn", "scale", "relu")] == \
                [("BatchNorm", level), ("Scale", level), ("ReLU", level)]
            assert not layers[f"bn_{level}"].batch_norm_param.use_global_stats


def test_a_misfit_names_the_command_with_the_layout(tmp_path):
    path = generate("Mini", "mnc_5stage", tmp_path, classes=4, anchors=9,
                    layout=Layout("pyramid", 8))[0]
    cfg.MASK_SIZE = 20
    check_net(path, "abcd")
    with pytest.raises(TrainingError, match=r"--features pyramid --stride 8 --out \S+_stride_8_") \
            as error:
        check_net(path, "ab")
    command = next(line for line in str(error.value).splitlines() if "generate.py" in line)
    out = str(tmp_path / "again")
    words = [*command.split()[2:-1], out]
    assert cli.main(["generate", *words]) == 0
    check_net(f"{out}/train.prototxt", "ab")


@pytest.mark.parametrize("net, task, layout, message", [
    ("Mini", "cfm", Layout("pyramid"), "no feature pyramid for the task cfm"),
    ("VGG16", "mnc_separate", Layout("pyramid"), "no feature pyramid for the task mnc_separate"),
    ("Mini", "mnc_5stage", Layout("pyramid", 16), "no features of stride 16"),
    ("Mini", "mnc_5stage", Layout(stride=5), "a stride is 4, 8 or 16; got single and 5"),
    ("Mini", "mnc_5stage", Layout("octaves"), "features are single or pyramid")])
def test_what_cannot_be(tmp_path, net, task, layout, message):
    with pytest.raises(NetError, match=message):
        generate(net, task, tmp_path, layout=layout)


def test_flags_without_a_net(capsys):
    assert cli.main(["generate", "--features", "pyramid"]) == 1
    assert "--features needs --net" in capsys.readouterr().err


PROPOSALS = """input: "scores" input_shape {{ dim: 1 dim: 2 dim: {cells} dim: 1 }}
    input: "deltas" input_shape {{ dim: 1 dim: 4 dim: {cells} dim: 1 }}
    input: "im_info" input_shape {{ dim: 1 dim: 3 }}
    input: "p2" input_shape {{ dim: 1 dim: 5 dim: 8 dim: 8 }}
    input: "p3" input_shape {{ dim: 1 dim: 5 dim: 4 dim: 4 }}
    layer {{ name: "it" type: "Python" bottom: "scores" bottom: "deltas" bottom: "im_info"
             bottom: "p2" bottom: "p3" top: "rois"
             python_param {{ module: "pylayer.proposal_layer" layer: "ProposalLayer"
                             param_str: "{{'feat_stride': {strides}}}" }} }}"""


def proposal_net(folder, **options):
    cfg.ANCHOR_SCALES, cfg.ANCHOR_RATIOS, cfg.TEST.RPN_MIN_SIZE = [.5], [1], 1
    (folder / "net.prototxt").write_text(PROPOSALS.format(**options))
    return caffe.Net(str(folder / "net.prototxt"), caffe.TEST)


def test_proposals_come_from_every_map(tmp_path):
    """The two best cells, one of each map, are found at the size and place of their anchors."""
    net = proposal_net(tmp_path, cells=80, strides="[4, 8]")
    net.blobs["im_info"].data[...] = 32, 32, 1
    net.blobs["scores"].data[0, 1, 8 * 3 + 2] = 2           # p2: row 3, column 2
    net.blobs["scores"].data[0, 1, 64 + 4 * 1 + 2] = 1      # p3: row 1, column 2
    net.forward()
    rois = net.blobs["rois"].data[:2, 1:]
    half = np.array([0, 0, 1, 1])           # a box at its anchor reaches one pixel further
    assert np.array_equal(rois, np.array([[6, 10, 13, 17], [12, 4, 27, 19]]) + half)


@pytest.mark.parametrize("cells, strides, message", [
    (80, "[4, 8, 16]", "wants 3 maps of a pyramid as the last bottoms, there are 2"),
    (80, "4", "wants no maps of a pyramid as the last bottoms, there are 2"),
    (79, "[4, 8]", "have 80 cells, so scores must be")])
def test_maps_that_do_not_fit(tmp_path, cells, strides, message):
    with pytest.raises(LayerError, match=message):
        proposal_net(tmp_path, cells=cells, strides=strides)
