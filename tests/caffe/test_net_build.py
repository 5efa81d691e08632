"""Passes from NetParameter to nodes: rules, splits, sharing, need of gradients."""

import pytest

import caffe
from caffe.engine.errors import LayerError
from caffe.engine.formats.prototxt import read_net
from caffe.engine.net.build import filter_by_state, insert_splits
from caffe.engine.net.net import Net
from caffe.proto import caffe_pb2

IP = ('layer {{ name: "{0}" type: "InnerProduct" bottom: "{1}" top: "{0}" {2} '
      'inner_product_param {{ num_output: 3 weight_filler {{ type: "xavier" }} }} }}\n')
INPUT = 'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }\n'
LOSS = ('layer {{ name: "{0}" type: "EuclideanLoss" bottom: "{1}" bottom: "{2}" top: "{0}" {3} }}\n')


def ip(name, bottom, extra=""):
    return IP.format(name, bottom, extra)


def loss(name, a, b, extra=""):
    return LOSS.format(name, a, b, extra)


def state(phase=caffe.TEST, level=0, *stages):
    return caffe_pb2.NetState(phase=int(phase), level=level, stage=stages)


@pytest.mark.parametrize("rule, phase, level, stages, kept", [
    ("include { phase: TRAIN }", caffe.TRAIN, 0, (), True),
    ("include { phase: TRAIN }", caffe.TEST, 0, (), False),
    ("exclude { phase: TRAIN }", caffe.TRAIN, 0, (), False),
    ("include { min_level: 2 }", caffe.TEST, 1, (), False),
    ("include { min_level: 2 max_level: 3 }", caffe.TEST, 3, (), True),
    ('include { stage: "a" stage: "b" }', caffe.TEST, 0, ("a",), False),
    ('include { stage: "a" stage: "b" }', caffe.TEST, 0, ("b", "a"), True),
    ('include { not_stage: "a" }', caffe.TEST, 0, ("a",), False),
    ('include { stage: "a" } include { phase: TEST }', caffe.TEST, 0, (), True),
])
def test_rules(rule, phase, level, stages, kept):
    param = read_net(INPUT + ip("y", "x", rule))
    names = [y.name for y in filter_by_state(param, state(phase, level, *stages)).layer]
    assert ("y" in names) == kept


def test_include_and_exclude_together_are_an_error():
    param = read_net(INPUT + ip("y", "x", "include { phase: TEST } exclude { phase: TRAIN }"))
    with pytest.raises(LayerError, match='layer "y".*both include and exclude'):
        filter_by_state(param, state())


def test_split_names_are_caffes():
    param = insert_splits(read_net(INPUT + ip("y", "x") + loss("l", "y", "x")))
    assert [y.name for y in param.layer] == ["in", "x_in_0_split", "y", "l"]
    assert list(param.layer[1].top) == ["x_in_0_split_0", "x_in_0_split_1"]
    assert list(param.layer[3].bottom) == ["y", "x_in_0_split_1"]


def test_a_loss_weight_counts_as_a_consumer():
    param = insert_splits(read_net(INPUT + ip("y", "x", "loss_weight: 2") + ip("z", "y")))
    split = param.layer[2]
    assert split.name == "y_y_0_split" and list(split.loss_weight) == [2, 0]
    assert list(param.layer[3].bottom) == ["y_y_0_split_1"] and list(param.layer[1].loss_weight) == [0]


def test_in_place_layer_starts_a_new_top():
    relu = 'layer { name: "r" type: "ReLU" bottom: "y" top: "y" }\n'
    param = insert_splits(read_net(INPUT + ip("y", "x") + relu + ip("a", "y") + ip("b", "y")))
    assert "y_r_0_split" in [y.name for y in param.layer]


@pytest.mark.parametrize("text, message", [
    (INPUT + ip("y", "q"), 'layer "y" .*unknown bottom blob "q"'),
    (INPUT + ip("y", "z") + ip("z", "x"), 'made by layer "z", which comes later'),
    (INPUT + ip("conv1", "x") + 'layer { name: "relu" type: "ReLU" bottom: "cnv1" top: "cnv1" }',
     'unknown bottom blob "cnv1"; did you mean "conv1"'),
    (INPUT + ip("y", "x") + ip("w", "x").replace('top: "w"', 'top: "y"'), "already made"),
    (INPUT + 'layer { name: "r" type: "Relu" bottom: "x" top: "x" }', 'layer "r".*"Relu".*"ReLU"'),
    (INPUT + 'layer { name: "r" type: "ReLU" top: "y" }', "takes 1 bottom"),
    (INPUT + ip("y", "x", "propagate_down: true propagate_down: true"), "2 propagate_down"),
    (INPUT + ip("y", "x", "loss_weight: 1 loss_weight: 1"), "2 loss_weight"),
    (INPUT + ip("y", "x", "param {} param {} param {}"), "3 param"),
    (INPUT + 'layer { name: "p" type: "Python" bottom: "x" top: "y" '
             'python_param { module: "no_such_module" layer: "L" } }', "no_such_module.*sys.path"),
    (INPUT + 'layer { name: "p" type: "Python" bottom: "x" top: "y" '
             'python_param { module: "json" layer: "JSONDecode" } }', "JSONDecoder"),
])
def test_errors_name_the_layer_and_the_cause(text, message):
    with pytest.raises(LayerError, match=message):
        Net.from_proto(read_net(text), caffe.TEST)


def test_shared_parameters_are_one_memory_and_listed_once():
    text = INPUT + ip("a", "x", 'param { name: "w" lr_mult: 3 }') + ip("b", "a", 'param { name: "w" }')
    net = Net.from_proto(read_net(text), caffe.TRAIN)
    net.params["a"][0].data[...] = 5
    assert (net.params["b"][0].data == 5).all()
    assert len(net.learnable_params) == 3 and net.params_lr == [3, 1, 1]
    assert net.param_id(2, 0) == (1, 0)


@pytest.mark.parametrize("first, second, message", [
    ("lr_mult: 1", "lr_mult: 2", "lr_mult 2.0 here and 1.0 before"),
    ("decay_mult: 1", "decay_mult: 0", "decay_mult"),
])
def test_sharing_layers_may_not_contradict(first, second, message):
    text = INPUT + ip("a", "x", f'param {{ name: "w" {first} }}') \
        + ip("b", "a", f'param {{ name: "w" {second} }}')
    with pytest.raises(LayerError, match=message):
        Net.from_proto(read_net(text), caffe.TRAIN)


def test_sharing_needs_the_same_shape():
    wide = ip("b", "a", 'param { name: "w" }').replace("num_output: 3", "num_output: 5")
    with pytest.raises(LayerError, match=r"\(5, 3\) and the owner's \(3, 3\)"):
        Net.from_proto(read_net(INPUT + ip("a", "x", 'param { name: "w" }') + wide), caffe.TRAIN)


def needs(text, **options):
    net = Net.from_proto(read_net(text), caffe.TRAIN, **options)
    return {node.layer.name: node.need_backward for node in net.nodes}


FROZEN = "param { lr_mult: 0 } param { lr_mult: 0 }"


def test_backward_stops_below_the_first_layer_that_learns():
    text = INPUT + ip("a", "x", FROZEN) + ip("b", "a") + loss("l", "b", "a", "propagate_down: true "
                                                                             "propagate_down: false")
    need = needs(text)
    assert need == {"in": False, "a": False, "a_a_0_split": False, "b": True, "l": True}


def test_nothing_is_computed_that_no_loss_depends_on():
    assert needs(INPUT + ip("a", "x") + ip("b", "a")) == {"in": False, "a": False, "b": False}


def test_force_backward_reaches_the_input():
    text = "force_backward: true\n" + INPUT + ip("a", "x", FROZEN)
    net = Net.from_proto(read_net(text), caffe.TEST)
    net.forward()
    net.blobs["a"].diff[...] = 1
    net.backward()
    assert abs(net.blobs["x"].diff).sum() > 0
