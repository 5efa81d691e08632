"""caffe.model_libs: the nets that SSD's scripts write."""

from __future__ import annotations

import pytest

import caffe
from caffe import layers as L
from caffe.engine.formats.prototxt import read_net
from caffe.engine.net.net import Net
from caffe.model_libs import (
    ConvBNLayer,
    CreateAnnotatedDataLayer,
    CreateMultiBoxHead,
    InceptionV3Body,
    ResNet101Body,
    ResNet152Body,
    UnpackVariable,
    VGGNetBody,
    ZFNetBody,
)

EXTRA = (("conv6_1", 256, 1, 0, 1), ("conv6_2", 512, 3, 1, 2), ("conv7_1", 128, 1, 0, 1),
         ("conv7_2", 256, 3, 1, 2), ("conv8_1", 128, 1, 0, 1), ("conv8_2", 256, 3, 0, 1),
         ("conv9_1", 128, 1, 0, 1), ("conv9_2", 256, 3, 0, 1))


def image(size: int = 300) -> caffe.NetSpec:
    net = caffe.NetSpec()
    net.data = L.Input(shape={"dim": [1, 3, size, size]})
    return net


def ssd300(classes: int) -> caffe.NetSpec:
    """As ssd_pascal.py makes it."""
    net = image()
    VGGNetBody(net, from_layer="data", fully_conv=True, reduced=True, dilated=True, dropout=False)
    last = net.keys()[-1]
    for name, *shape in EXTRA:
        ConvBNLayer(net, last, name, False, True, *shape)
        last = name
    CreateMultiBoxHead(
        net, data_layer="data", from_layers=["conv4_3", "fc7", "conv6_2", "conv7_2", "conv8_2",
                                             "conv9_2"],
        use_batchnorm=False, min_sizes=[30., 60., 111., 162., 213., 264.],
        max_sizes=[60., 111., 162., 213., 264., 315.], steps=[8, 16, 32, 64, 100, 300],
        aspect_ratios=[[2], [2, 3], [2, 3], [2, 3], [2], [2]], num_classes=classes, clip=False,
        normalizations=[20, -1, -1, -1, -1, -1], prior_variance=[0.1, 0.1, 0.2, 0.2],
        kernel_size=3, pad=1)
    return net


def built(net: caffe.NetSpec) -> Net:
    return Net.from_proto(read_net(str(net.to_proto())), caffe.TEST)


def parameters(net: Net) -> int:
    return sum(blob.count for blobs in net.params.values() for blob in blobs)


def test_ssd300_has_8732_priors(no_values):
    made = built(ssd300(21))
    assert made.blobs["mbox_loc"].shape == (1, 4 * 8732)
    assert made.blobs["mbox_conf"].shape == (1, 21 * 8732)
    assert made.blobs["mbox_priorbox"].shape == (1, 2, 4 * 8732)


def test_ssd300_is_word_for_word_what_the_original_wrote(real_material):
    """The train net of a project that was made with SSD's own script."""
    path = real_material / "forks/protos/SpyderXu+ssd_sort/model__train.prototxt"
    original = {layer.name: layer for layer in read_net(path).layer}
    classes = original["conv4_3_norm_mbox_conf"].convolution_param.num_output // 4
    ours = ssd300(classes).to_proto().layer
    assert [layer.name for layer in ours] == [n for n in original if n != "mbox_loss"]
    for layer in ours[1:]:
        assert str(layer) == str(original[layer.name])


@pytest.mark.parametrize("body, size, layers, last, shape, count", [
    (ResNet101Body, 64, 481, "pool5", (1, 2048, 1, 1), 42605608),
    (ResNet152Body, 64, 719, "pool5", (1, 2048, 1, 1), 58295387),
    (InceptionV3Body, 299, 420, "mixed_10/join", (1, 2048, 8, 8), 21802878),
])
def test_bodies(body, size, layers, last, shape, count, no_values):
    """Counts of parameters: the papers' nets without their last layer, and BatchNorm's 2 C + 1."""
    net = image(size)
    body(net, "data")
    made = built(net)
    assert net.keys()[-1] == last and made.blobs[last].shape == shape
    assert (len(made.layers), parameters(made)) == (layers, count)


@pytest.mark.parametrize("options, shape", [
    ({}, (1, 4096)), ({"fully_conv": True}, (1, 4096, 2, 2)),
    ({"fully_conv": True, "reduced": True}, (1, 1024, 2, 2)),
    ({"fully_conv": True, "reduced": True, "dilated": True}, (1, 1024, 4, 4)),
    ({"fully_conv": True, "dilated": True, "nopool": True}, (1, 4096, 4, 4)),
    ({"fully_conv": True, "reduced": True, "dilated": True, "dilate_pool4": True}, (1, 1024, 8, 8)),
    ({"need_fc": False}, (1, 512, 4, 4))])
def test_vgg(options, shape, no_values):
    net = image(64)
    VGGNetBody(net, "data", **options)
    made = built(net)
    assert made.blobs[made.outputs[0]].shape == shape


@pytest.mark.parametrize("options, shape", [
    ({}, (1, 4096)), ({"need_fc8": True}, (1, 1000)),
    ({"fully_conv": True, "reduced": True, "dilated": True}, (1, 1024, 5, 5)),
    ({"fully_conv": True, "dilated": True}, (1, 4096, 5, 5)),
    ({"fully_conv": True}, (1, 4096, 2, 2))])
def test_zf(options, shape, no_values):
    net = image(64)
    ZFNetBody(net, "data", **options)
    made = built(net)
    assert made.blobs[made.outputs[0]].shape == shape


def test_frozen_layers_do_not_learn():
    net = image(64)
    VGGNetBody(net, "data", need_fc=False, freeze_layers=["conv1_1", "no such layer"])
    first, second = (layer for layer in net.to_proto().layer if layer.name in ("conv1_1", "conv1_2"))
    assert [p.lr_mult for p in first.param] == [0, 0]
    assert [p.lr_mult for p in second.param] == [1, 2]


def test_convolution_with_everything():
    net = image(8)
    ConvBNLayer(net, "data", "c", True, True, 4, [1, 3], [0, 1], 1, use_scale=False, lr_mult=2,
                use_global_stats=True, eps=0.5)
    conv, norm, bias, relu = net.to_proto().layer[1:]
    assert (conv.convolution_param.kernel_h, conv.convolution_param.kernel_w) == (1, 3)
    assert not conv.convolution_param.bias_term and conv.param[0].lr_mult == 2
    assert norm.batch_norm_param.use_global_stats and norm.batch_norm_param.eps == 0.5
    assert not norm.batch_norm_param.HasField("moving_average_fraction")
    assert bias.param[0].lr_mult == 0 and list(bias.top) == ["c"] == list(relu.bottom)
    assert [layer.name for layer in (norm, bias, relu)] == ["c_bn", "c_bias", "c_relu"]


def test_data_layer():
    net = caffe.NetSpec()
    net.data, net.label = CreateAnnotatedDataLayer(
        "db", batch_size=7, train=False, label_map_file="map", transform_param={"mirror": True},
        batch_sampler=[{"max_sample": 1}])
    layer, = net.to_proto().layer
    assert (layer.name, layer.type, list(layer.top)) == ("data", "AnnotatedData", ["data", "label"])
    assert layer.include[0].phase == caffe.TEST and layer.transform_param.mirror
    assert layer.data_param.batch_size == 7 and layer.data_param.backend == 1
    assert layer.annotated_data_param.batch_sampler[0].max_sample == 1


def test_heads_of_other_kinds(no_values):
    """Unequal sides, objectness, a layer between, two sizes a cell, codes for each class."""
    net = image(32)
    tops = CreateMultiBoxHead(
        net, from_layers=["data"], num_classes=3, min_sizes=[[4, 8]], aspect_ratios=[[2]],
        img_height=20, img_width=40, use_objectness=True, inter_layer_depth=[5],
        share_location=False, use_batchnorm=True, steps=[8])
    made = built(net)
    assert len(tops) == 4 and "data_inter" in made.blobs
    prior = made.blobs["mbox_priorbox"].shape[2] // 4
    assert prior == 32 * 32 * 2 * 3
    assert made.blobs["mbox_loc"].shape == (1, prior * 4 * 3)
    assert made.blobs["mbox_conf"].shape == (1, prior * 3)
    assert made.blobs["mbox_objectness"].shape == (1, prior * 2)


@pytest.mark.parametrize("wrong, said", [
    ({"num_classes": 0}, "give num_classes"), ({"from_layers": ["dta"]}, 'no top "dta"'),
    ({"min_sizes": [1, 2]}, "2 min_sizes for 1 from_layers"), ({"min_sizes": []}, "give min_sizes")])
def test_what_a_head_needs(wrong, said):
    with pytest.raises(ValueError, match=said):
        CreateMultiBoxHead(image(8), **{"from_layers": ["data"], "num_classes": 2,
                                        "min_sizes": [4], **wrong})


def test_unpack_variable():
    assert UnpackVariable(3, 2) == UnpackVariable([3], 2) == [3, 3]
    assert UnpackVariable([3, 4], 2) == [3, 4]
    with pytest.raises(ValueError, match="give one value or 2"):
        UnpackVariable([1, 2, 3], 2)


def test_a_script_gets_its_names_by_one_import():
    names = {}
    exec("from caffe.model_libs import *", names)
    assert {"L", "P", "caffe", "caffe_pb2", "os", "check_if_exist", "make_if_not_exist"} <= set(names)
    assert names["P"].Resize.WARP == 1 and names["caffe_pb2"].EmitConstraint.CENTER == 0
