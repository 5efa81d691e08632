"""Lenient reading: unknown fields become warnings, everything else stays an error."""

import pytest

import caffe
from caffe.engine.formats.lenient import without_field
from caffe.engine.formats.prototxt import read_net

TEXT = """name: "n"
layer {
  name: "x" type: "Input" top: "x"
  dropout_rate: 0.5  # a field of some fork
  input_param { shape { dim: 2 } forked: [1, 2, 3] }
}
fork_param { nested { a: "}" 'b' } c: <d: 1> }
layer { name: "y" type: "AbsVal" bottom: "x" top: "y" note: "one" "two" engine2: CAFFE }
"""


@pytest.fixture
def lenient():
    caffe.set_lenient(True)
    yield
    caffe.set_lenient(False)


def test_unknown_fields_are_errors():
    with pytest.raises(caffe.PrototxtError, match="dropout_rate"):
        read_net(TEXT)


def test_unknown_fields_become_warnings_with_their_place(lenient, capsys):
    net = read_net(TEXT)
    assert [(y.name, list(y.top)) for y in net.layer] == [("x", ["x"]), ("y", ["y"])]
    assert list(net.layer[0].input_param.shape[0].dim) == [2]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5 and all(line.startswith("W") for line in lines)
    for line, (place, name) in zip(lines, (("4:3", "dropout_rate"), ("5:34", "forked"),
                                           ("7:1", "fork_param"), ("8:55", "note"),
                                           ("8:73", "engine2"))):
        assert f'{place}: ' in line and f'no field "{name}"' in line


def test_other_mistakes_stay_errors(lenient):
    for text in ('layer { name: "x" }}', "layer { phase: TRIAN }", 'layer { name: 3 }'):
        with pytest.raises(caffe.PrototxtError):
            read_net(text)
    with pytest.raises(caffe.LayerError, match="did you mean"):
        caffe.Net('layer { name: "x" type: "Relu" top: "x" }', caffe.TEST)


@pytest.mark.parametrize("text, left", [
    ("a: 1 b: 2", "     b: 2"), ("a { b { } } c: 1", "            c: 1"),
    ("a: 'x' \"y\" b: 1", "           b: 1"), ("a [1, 2] b: 1", "         b: 1"),
    ("a: 1", "    "), ("a {", "   "), ("a }", "  }"),
])
def test_a_field_is_blanked_to_its_end(text, left):
    assert without_field(text, 1, 1).ljust(len(left)) == left


@pytest.mark.parametrize("field", ["torch_pooling: true", "pad_shape { dim: 1 }", "ceil: false"])
def test_fields_that_may_change_shapes_are_never_left_out(lenient, field):
    """A net of other shapes is another net: the weights may even fit."""
    with pytest.raises(caffe.PrototxtError, match="may change shapes"):
        read_net(f'layer {{ name: "p" type: "Pooling" pooling_param {{ {field} }} }}')
