"""caffe.extend: what packages on top of this one build layers with."""

import ast
import inspect

import numpy as np
import pytest

import caffe
from caffe import extend
from caffe.extend import LAYERS, LayerError, TorchLayer, exactly

NET = """layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "twice" type: "Twice" bottom: "x" top: "y" }"""


def test_every_name_is_there_and_told_of():
    for name in extend.__all__:
        assert getattr(extend, name) is not None
        assert name in extend.__doc__ or name in ("Arity", "Registry"), name
    assert sorted(extend.__all__) == sorted(
        alias.asname or alias.name for node in ast.parse(inspect.getsource(extend)).body
        if isinstance(node, ast.ImportFrom) for alias in node.names)


@pytest.fixture
def twice():
    @LAYERS.register("Twice")
    class Twice(TorchLayer):
        num_bottom = num_top = exactly(1)

        def check(self, *shapes):
            if len(shapes[0]) != 2:
                raise LayerError(f"{self.title}: takes a matrix, got {shapes[0]}")

        def compute(self, x):
            return 2 * x
    yield
    LAYERS.remove("Twice")


def test_a_layer_of_another_package(twice, tmp_path):
    (tmp_path / "net.prototxt").write_text(NET)
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    assert (net.forward(x=np.ones((2, 3)))["y"] == 2).all()
    (tmp_path / "net.prototxt").write_text(NET.replace("dim: 3", "dim: 3 dim: 1"))
    with pytest.raises(LayerError, match=r'layer "twice" \(Twice\): takes a matrix, got \(2, 3, 1\)'):
        caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
