"""Reading text files: what is read, where an error is said to be, and old forms made current."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from google.protobuf import text_format

from caffe.engine import log
from caffe.engine.errors import PrototxtError
from caffe.engine.formats.prototxt import read_message, read_net, read_solver
from caffe.engine.formats.upgrade import inputs_to_layer, upgrade, upgrade_layers, upgrade_solver
from caffe.proto import caffe_pb2

WIRE = Path(__file__).resolve().parents[1] / "golden" / "wire"


def wire(name: str) -> bytes:
    with zipfile.ZipFile(WIRE / "old_formats.zip") as files:
        return files.read(name)


def parsed(name: str, message=caffe_pb2.NetParameter):
    return text_format.Parse(wire(name), message())


def test_reads_files_and_text(tmp_path):
    text = 'name: "tiny"  # naïve comment\nlayer { name: "in" type: "Input" top: "x" }'
    for encoding in ("utf-8", "utf-8-sig", "latin-1"):
        (tmp_path / encoding).write_bytes(text.encode(encoding))
        assert read_net(tmp_path / encoding) == read_net(text)
    assert [layer.name for layer in read_net(text).layer] == ["in"]
    assert read_net('name: "tiny"').name == "tiny"


# Text of a net, the position and the explanation expected.
WRONG = [
    ('name: "x"\nlayer {\n  convolution_params { }\n}', "3:3: LayerParameter has no field "
     '"convolution_params"; did you mean "convolution_param"'),
    ("layer {\n  pooling_param { pool: AVG } }",
     '2:25: PoolingParameter.PoolMethod has no value "AVG"; did you mean "AVE"?'),
    ("layer {\n  include { phase: train } }",
     '2:20: Phase has no value "train"; did you mean "TRAIN"?'),
    ("layer {\n  include { zzz: 1 } }",
     '2:13: NetStateRule has no field "zzz"; known: phase, min_level'),
    ('net: "train.prototxt"', '1:1: .* this is the file of a solver'),
    ("layer {\n  blobs_lr: 1 }", '2:3: LayerParameter has no field "blobs_lr"; .*lr_mult'),
    ("layers {\n  type: PYTHON }", r'2:9: .*no value "PYTHON"; write .*layer { type: "Python"'),
    ('layer {\n  name: "a" name: "b" }', '2:19: LayerParameter has "name" more than once'),
    ("layer {\n  relu_param { negative_slope: abc } }", "2:32: .*parse float: abc"),
    ("layer {\n  name: conv1\n}", "2:9: .*Expected string"),
    ("layer {\n  top: 'a'\n\n", "missing|Expected"),
    ("layer {\n  clip_param { min: 1 } }", r"missing layer\[0\].clip_param.max"),
]


@pytest.mark.parametrize("text, message", WRONG)
def test_errors_say_where_and_what(text, message, tmp_path):
    file = tmp_path / "net.prototxt"
    file.write_text(text)
    with pytest.raises(PrototxtError, match=message) as error:
        read_net(file)
    assert str(error.value).startswith(f"{file}:")
    with pytest.raises(PrototxtError, match="^<text>"):
        read_net(text)


def test_files_that_are_no_text(tmp_path):
    with pytest.raises(PrototxtError, match="absent.prototxt: cannot be read: No such file"):
        read_net(tmp_path / "absent.prototxt")
    with pytest.raises(PrototxtError, match="is a binary file"):
        read_net(WIRE / "wire_iter_3.caffemodel")


def test_solver():
    solver = read_solver('net: "a" base_lr: 0.01\nlr_policy: "fixed"')
    assert (solver.net, solver.type) == ("a", "SGD")
    with pytest.raises(PrototxtError, match='no field "baselr"; did you mean "base_lr"'):
        read_solver("baselr: 1\n")
    with pytest.raises(PrototxtError, match="<text>: solver has both type and"):
        read_solver('type: "SGD"\nsolver_type: SGD')


def test_any_message():
    assert read_message("dim: 2 dim: 3\n", caffe_pb2.BlobShape()).dim == [2, 3]


@pytest.mark.parametrize("shapes", [
    "input_dim: 2 input_dim: 3 input_dim: 5 input_dim: 7 "
    "input_dim: 1 input_dim: 1 input_dim: 1 input_dim: 4",
    "input_shape { dim: 2 dim: 3 dim: 5 dim: 7 } input_shape { dim: 1 dim: 1 dim: 1 dim: 4 }",
])
def test_inputs_become_the_first_layer(shapes):
    net = read_net(f'name: "n" input: "a" input: "b" {shapes}\nlayer {{ name: "r" type: "ReLU" }}')
    assert [(layer.name, layer.type) for layer in net.layer] == [("input", "Input"), ("r", "ReLU")]
    assert net.layer[0].top == ["a", "b"]
    assert [list(s.dim) for s in net.layer[0].input_param.shape] == [[2, 3, 5, 7], [1, 1, 1, 4]]
    assert not (net.input or net.input_dim or net.input_shape)
    assert net.name == "n"


def test_an_input_without_shape_beside_its_layer_is_dropped():
    """As Caffe clears it: files of several converters have both."""
    net = read_net('input: "a" layer { name: "in" type: "Input" top: "a" input_param { '
                   'shape { dim: 2 } } } layer { name: "r" type: "ReLU" bottom: "a" top: "b" }')
    assert [layer.name for layer in net.layer] == ["in", "r"] and not net.input
    with pytest.raises(PrototxtError, match='input "b" has no shape'):
        read_net('input: "a" input: "b" layer { name: "in" type: "Input" top: "a" }')


def test_inputs_need_shapes():
    with pytest.raises(PrototxtError, match='input "a" has no shape'):
        read_net('input: "a"')
    with pytest.raises(PrototxtError, match="1 input need 4 input_dim, got 3"):
        read_net('input: "a" input_dim: 1 input_dim: 2 input_dim: 3')
    with pytest.raises(PrototxtError, match="2 input but 1 input_shape"):
        read_net('input: "a" input: "b" input_shape { dim: 1 }')


def test_rewrites_leave_their_argument_alone():
    param = parsed("v1.prototxt")
    before = param.SerializeToString()
    current = upgrade(param)
    assert param.SerializeToString() == before
    assert upgrade(current) is current
    assert inputs_to_layer(current) is current


@pytest.mark.parametrize("version", ["v0", "v1"])
def test_old_layers_become_what_caffe_made_of_them(version):
    assert upgrade_layers(parsed(f"{version}.prototxt")) == parsed(f"{version}_upgraded.prototxt")


def test_old_weights_become_what_caffe_made_of_them():
    old, new = (caffe_pb2.NetParameter.FromString(wire(name))
                for name in ("v1.caffemodel", "v1_upgraded.caffemodel"))
    assert upgrade_layers(old) == new


def test_old_solver_becomes_what_caffe_made_of_it():
    old, new = (parsed(name, caffe_pb2.SolverParameter)
                for name in ("solver_old.prototxt", "solver_upgraded.prototxt"))
    assert upgrade_solver(old) == new


def test_transforms_of_old_data_layers_move():
    options = 'source: "s" scale: 0.5 mirror: true'
    (layer,) = read_net(f"layers {{ type: DATA data_param {{ {options} }} }}").layer
    assert layer.type == "Data"
    assert layer.transform_param == caffe_pb2.TransformationParameter(scale=0.5, mirror=True)
    assert layer.data_param == caffe_pb2.DataParameter(source="s")


def test_old_and_new_layers_do_not_mix():
    with pytest.raises(PrototxtError, match='mixes "layers"'):
        read_net('layers { type: RELU } layer { type: "ReLU" }')


def test_v0_options_that_mean_nothing_are_said(monkeypatch):
    said = []
    monkeypatch.setattr(log, "warning", lambda form, *args: said.append(form % args))
    (layer,) = read_net('layers { layer { name: "a" type: "relu" num_output: 5 } }').layer
    assert layer == caffe_pb2.LayerParameter(name="a", type="ReLU")
    assert said == ['layer "a": a "relu" layer has no num_output']


def test_v0_errors():
    with pytest.raises(PrototxtError, match='"convo" is no type .* did you mean "conv"'):
        read_net('layers { layer { name: "a" type: "convo" } }')
    with pytest.raises(PrototxtError, match='padding layer "p" may only feed a conv or pool layer'):
        read_net('layers { layer { name: "p" type: "padding" pad: 1 } bottom: "x" top: "y" }'
                 'layers { layer { name: "r" type: "relu" } bottom: "y" top: "y" }')


@pytest.mark.parametrize("count, multipliers", [(2, [1, 1]), (3, [0, 0, 0])])
def test_batch_norm_with_three_param_is_frozen(count, multipliers):
    net = read_net(f'layer {{ type: "BatchNorm" {"param { } " * count} }}')
    assert [spec.lr_mult for spec in net.layer[0].param] == multipliers
    assert [spec.decay_mult for spec in net.layer[0].param] == multipliers


def test_real_files(real_material):
    """Every net has the layers that Caffe built; the MNC fork made no Input layer of inputs."""
    wanted = json.loads((real_material / "prototxts.json").read_text())
    for name, facts in wanted.items():
        file = real_material / "prototxts" / name
        if "solver" in file.name:
            assert read_solver(file).base_lr > 0
            continue
        names = [layer.name for layer in read_net(file).layer]
        assert names
        if "shapes" in facts:
            built = [name for name in facts["shapes"]["layers"] if "_split" not in name]
            assert names in (built, ["input", *built])


@pytest.mark.parametrize("name", ["/nowhere/it's.prototxt", "models/{net}/deploy.prototxt", "a: b.prototxt",
                                  '/nowhere/"x".prototxt', "C:/net.prototxt", "/nowhere/x", "net {1}.txt"])
def test_an_absent_file_is_absent_whatever_its_name(name):
    with pytest.raises(PrototxtError, match="cannot be read: No such file") as raised:
        read_net(name)
    assert str(raised.value).startswith(name)


@pytest.mark.parametrize("text", ['name: "n"', 'layer { name: "a" type: "ReLU" }', " name:'n'", 'layer <name: "a">'])
def test_a_line_of_text_is_text(text):
    read_net(text)


def test_a_net_given_as_text_is_not_quoted_whole_in_errors():
    import caffe

    text = 'layer { name: "a" type: "ReLU" bottom: "x" top: "y" }\n'
    with pytest.raises(caffe.LayerError) as raised:
        caffe.Net(text, caffe.TEST)
    assert str(raised.value).startswith('<text>: layer "a" (ReLU)')
    with pytest.raises(caffe.LayerError) as raised:
        caffe.get_solver(f'train_net_param {{ {text} }} base_lr: 1 lr_policy: "fixed"')
    assert text.strip() not in str(raised.value)
