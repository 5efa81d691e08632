"""ONNX models imported: each operator, held against onnxruntime; what has no counterpart, named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import caffe
from caffe.cli import main
from caffe.engine.errors import LayerError, WeightsError
from caffe.importing.onnx_check import kept_if_equal
from caffe.importing.onnx_net import OPERATORS, net_of
from torch_releases import small_vgg

onnx = pytest.importorskip("onnx", reason="onnx is not installed (the extra export)")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (the extra export)")
helper = onnx.helper
random = np.random.RandomState(5)


def normal(*shape: int) -> np.ndarray:
    return random.standard_normal(shape).astype(np.float32)


def positive(*shape: int) -> np.ndarray:
    return random.uniform(0.5, 2, shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def number(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def node(op: str, *constants: object, outputs: int = 1, inputs: tuple[str, ...] | None = None, **attributes: object):
    """A node on `x` and these constants ("": an input left out)."""
    return op, constants, outputs, inputs or ("x",), attributes


PLANES = (2, 3, 7, 11)
CASES = {
    "conv": node("Conv", normal(5, 3, 3, 2), normal(5), pads=[1, 0, 1, 0], strides=[2, 1]),
    "conv without bias, dilated, in groups": node("Conv", normal(6, 1, 3, 3), group=3, dilations=[2, 1], pads=[2, 1, 2, 1]),
    "conv padded more behind": node("Conv", normal(4, 3, 3, 3), pads=[0, 1, 1, 2], strides=[2, 2]),
    "conv padded more in front": node("Conv", normal(4, 3, 3, 3), pads=[2, 0, 0, 1]),
    "conv same upper": node("Conv", normal(4, 3, 3, 2), auto_pad="SAME_UPPER", strides=[2, 2]),
    "conv same lower": node("Conv", normal(4, 3, 2, 4), auto_pad="SAME_LOWER", strides=[3, 2]),
    "conv transposed": node("ConvTranspose", normal(3, 4, 4, 4), normal(4), strides=[2, 2], pads=[1, 1, 1, 1]),
    "max": node("MaxPool", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 0]),
    "max, rounded up": node("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    "mean of windows": node("AveragePool", kernel_shape=[2, 3], strides=[2, 1]),
    "mean with padding counted": node("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    "mean of planes": node("GlobalAveragePool"), "max of planes": node("GlobalMaxPool"),
    "mean over axes": node("ReduceMean", ints(2, -1)), "mean over axes, gone": node("ReduceMean", ints(2, 3), keepdims=0),
    "batch norm": node("BatchNormalization", normal(3), normal(3), normal(3), positive(3), epsilon=1e-3),
    "local norm": node("LRN", size=3, alpha=0.5, beta=0.6, bias=2.0),
    **{op: node(op) for op in ("Relu", "Sigmoid", "Tanh", "Abs", "Softplus", "Exp", "Neg", "HardSigmoid", "HardSwish", "Elu", "Identity")},
    "leaky": node("LeakyRelu", alpha=0.3), "leaky, usual slope": node("LeakyRelu"),
    "slopes": node("PRelu", normal(3, 1, 1)), "one slope": node("PRelu", normal(1)),
    "clip": node("Clip", number(-0.5), number(0.75)), "relu6": node("Clip", number(0), number(6)), "clip below": node("Clip", number(-0.5)),
    "softmax": node("Softmax", axis=1), "softmax, last axis": node("Softmax"),
    "add a number": node("Add", number(2.5)), "a number less": node("Sub", number(2.5)), "divided": node("Div", number(-4)),
    "a number a channel": node("Mul", normal(3, 1, 1)), "added a channel": node("Add", normal(1, 3, 1, 1)), "divided a channel": node("Div", positive(3, 1, 1)),
    "subtracted a channel": node("Sub", normal(3, 1, 1)), "to a power": node("Pow", number(2)),
    "itself": node("Add", inputs=("x", "x")), "less itself": node("Sub", inputs=("x", "x")), "square": node("Mul", inputs=("x", "x")),
    "sum": node("Sum", inputs=("x", "x", "x")), "largest": node("Max", inputs=("x", "x")), "ratio": node("Div", inputs=("x", "x")),
    "joined": node("Concat", inputs=("x", "x"), axis=-1), "parts": node("Split", ints(1, 2), outputs=2, axis=1),
    "a part": node("Slice", ints(1, -4), ints(2**40, -1), ints(2, 3)), "first part": node("Slice", ints(0), ints(2), ints(1), ints(1)),
    "reshaped": node("Reshape", ints(0, -1, 11)), "flattened": node("Flatten"), "turned": node("Transpose", perm=[0, 2, 3, 1]), "reversed": node("Transpose"),
    "axis more": node("Unsqueeze", ints(1)), "enlarged": node("Resize", "", np.array([1, 1, 2, 2], np.float32), mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    "enlarged, usual rounding": node("Resize", "", np.array([1, 1, 3, 3], np.float32), mode="nearest"),
    "enlarged, linear": node("Resize", "", "", ints(2, 3, 13, 21), mode="linear", coordinate_transformation_mode="align_corners"),
    "dropped": node("Dropout"), "no pads": node("Pad", ints(*[0] * 8)), "rows times a matrix": node("MatMul", normal(11, 4)),
}
TWO_AXES = {"gemm": node("Gemm", normal(4, 6), normal(6), alpha=0.5, beta=2.0), "gemm, turned": node("Gemm", normal(6, 4), transB=1),
            "product": node("MatMul", normal(4, 6)), "a number a column": node("Add", normal(4))}
POSITIVE = {"Sqrt": node("Sqrt"), "Log": node("Log"), "Reciprocal": node("Reciprocal"), "a number over": node("Div", inputs=("c0", "x"))}


def model_of(case, shape: tuple[int | str, ...], path: Path, more=()) -> Path:
    """A file with that node on `x` of that shape, and nodes after it."""
    op, constants, outputs, inputs, attributes = case
    initial = [onnx.numpy_helper.from_array(value, f"c{i}") for i, value in enumerate(constants) if not isinstance(value, str)]
    if inputs == ("c0", "x"):
        initial = [onnx.numpy_helper.from_array(number(3), "c0")]
    names = [*inputs, *(f"c{i}" if not isinstance(value, str) else "" for i, value in enumerate(constants))]
    tops = [f"y{i}" for i in range(outputs)]
    nodes = [helper.make_node(op, names, tops, name="tested", **attributes), *more]
    written = nodes[-1].output if more else tops
    graph = helper.make_graph(nodes, "one", [helper.make_tensor_value_info("x", 1, shape)],
                              [helper.make_tensor_value_info(name, 1, None) for name in written], initial)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("name, shape", [
    *((name, PLANES) for name in CASES), *((name, (5, 4)) for name in TWO_AXES), *((name, (2, 3)) for name in POSITIVE)])
def test_each_operator(tmp_path, name, shape, monkeypatch):
    if name in POSITIVE:                    # of random inputs
        monkeypatch.setattr("numpy.random.default_rng", lambda seed: type("Positive", (), {
            "standard_normal": staticmethod(lambda shape, dtype: positive(*shape))}))
    path = model_of({**CASES, **TWO_AXES, **POSITIVE}[name], shape, tmp_path / "one.onnx")
    said = kept_if_equal(net_of(path), path, tmp_path / "net")
    assert said.startswith("Largest difference from the file, run by onnxruntime: ")


def test_every_operator_has_a_case():
    tested = {case[0] for case in (*CASES.values(), *TWO_AXES.values(), *POSITIVE.values())}
    assert set(OPERATORS) - tested == {"Squeeze", "Cast"}       # as Unsqueeze, Identity


def test_padding_goes_into_the_convolution_behind_it(tmp_path):
    after = [helper.make_node("Conv", ["y0", "w"], ["z"], pads=[1, 1, 1, 1])]
    path = model_of(node("Pad", ints(0, 0, 0, 1, 0, 0, 2, 0)), PLANES, tmp_path / "one.onnx", after)
    model = onnx.load(path)
    model.graph.initializer.append(onnx.numpy_helper.from_array(normal(4, 3, 3, 3), "w"))
    onnx.save(model, path)
    kept_if_equal(net_of(path), path, tmp_path / "net")


def test_a_gate_of_planes(tmp_path):
    """Squeeze and excitation: a value a plane of each image."""
    after = [helper.make_node("Sigmoid", ["y0"], ["gate"]), helper.make_node("Mul", ["gate", "x"], ["gated"]),
             helper.make_node("Add", ["gated", "y0"], ["z"])]
    path = model_of(node("GlobalAveragePool"), PLANES, tmp_path / "one.onnx", after)
    kept_if_equal(net_of(path), path, tmp_path / "net")


def test_what_is_constant_is_computed_before(tmp_path):
    """The shape of x, some of it, as the target of a Reshape."""
    nodes = [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Gather", ["s", "c0"], ["n"]),
             helper.make_node("Concat", ["n", "c1"], ["target"], axis=0), helper.make_node("Reshape", ["x", "target"], ["z"])]
    initial = [onnx.numpy_helper.from_array(value, f"c{i}") for i, value in enumerate((ints(0), ints(-1)))]
    graph = helper.make_graph(nodes, "one", [helper.make_tensor_value_info("x", 1, ["batch", 3, 4])],
                              [helper.make_tensor_value_info("z", 1, None)], initial)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "one.onnx")
    net = net_of(tmp_path / "one.onnx", {"x": (2, 3, 4)})
    assert list(net.message.layer[-1].reshape_param.shape.dim) == [0, -1]


@pytest.mark.parametrize("case, what", [
    (node("NonZero"), r'without a counterpart in Caffe: NonZero \(node "tested"\)'),
    (node("ReduceMean", ints(1)), r'node "tested" \(ReduceMean\): the mean over axes \[1\]'),
    (node("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]), "padding counted: False"),
    (node("Slice", ints(0), ints(5), ints(2), ints(2)), r"\(Slice\): steps \[2\]"),
    (node("Add", normal(7, 11)), r"a constant of the shape \(7, 11\)"),
    (node("ConvTranspose", normal(3, 4, 2, 2), output_padding=[1, 1], strides=[2, 2]), "adds nothing at one"),
    (node("Resize", "", np.array([1, 1, 2, 2], np.float32), mode="linear"), "with aligned corners it may be"),
    (node("Conv", inputs=("x", "x")), "must be a constant"),
])
def test_what_has_no_counterpart_is_named(tmp_path, capsys, case, what):
    path = model_of(case, PLANES, tmp_path / "one.onnx")
    with pytest.raises(LayerError, match=what):
        net_of(path)
    assert main(["import", str(path), "-o", str(tmp_path / "net")]) == 1
    assert "one.onnx" in capsys.readouterr().err and not list(tmp_path.glob("net*"))


def test_the_command(tmp_path, capsys):
    path = model_of(node("Relu"), ("n", 3, "h", "w"), tmp_path / "one.onnx")
    command = ["import", str(path), "-o", str(tmp_path / "net.prototxt")]
    fixed = model_of(node("Relu"), PLANES, tmp_path / "fixed.onnx")
    assert main(["import", str(fixed), "-o", "x", "--input", "y=1x3x4x5"]) == 1
    assert "no input y; there are x" in capsys.readouterr().err
    assert main(command) == 1
    assert "give it: --input x=1x3x224x224" in capsys.readouterr().err
    assert main([*command, "--input", "x=1x3x4x5"]) == 0
    out = capsys.readouterr().out
    assert f"Wrote {tmp_path}/net.prototxt and {tmp_path}/net.caffemodel: one\n" in out and "onnxruntime: 0" in out
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    assert net.forward(x=-np.ones((1, 3, 4, 5)))["y0"].max() == 0


def test_other_files_are_refused(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"not a model")
    with pytest.raises(WeightsError, match="not an ONNX model"):
        net_of(tmp_path / "x.onnx")
    with pytest.raises(OSError):
        net_of(tmp_path / "absent.onnx")


def test_a_net_that_differs_is_not_kept(tmp_path):
    path = model_of(node("Relu"), PLANES, tmp_path / "one.onnx")
    other = model_of(node("Tanh"), PLANES, tmp_path / "other.onnx")
    with pytest.raises(caffe.CaffeError, match="differ by .* nothing was written"):
        kept_if_equal(net_of(path), other, tmp_path / "net")
    assert not list(tmp_path.glob("net*"))


@pytest.mark.parametrize("name", ["vgg16", "resnet50", "mobilenet_v2", "squeezenet1_1", "densenet121", "googlenet", "shufflenet_v2_x1_0"])
@pytest.mark.filterwarnings("ignore")       # torch's exporter, of itself
def test_torchvisions_nets(tmp_path, torchvision_models, name):
    more = dict(aux_logits=False, init_weights=False) if name == "googlenet" else {}
    vgg = name == "vgg16"
    net = small_vgg(torchvision_models) if vgg else torchvision_models.get_model(name, weights=None, **more).eval()
    side = 224 if vgg else 64
    torch.onnx.export(net, (torch.randn(1, 3, side, side),), str(tmp_path / "net.onnx"), dynamo=True, external_data=False, verbose=False)
    kept_if_equal(net_of(tmp_path / "net.onnx"), tmp_path / "net.onnx", tmp_path / "made")
