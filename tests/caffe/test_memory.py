"""Declared sizes are held against the memory limit before memory is taken."""

from __future__ import annotations

import numpy as np
import pytest

import caffe
from caffe.engine import memory

INPUT = 'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }'


def layer(kind, options):
    return f'{INPUT} layer {{ name: "c" type: "{kind}" bottom: "x" top: "y" {options} }}'


TOO_LARGE = {
    "input": ('layer { name: "c" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 '
              'dim: 30000 dim: 30000 } } }', "input_param.shape.dim: 30000"),
    "input_shape": ('name: "c" input: "x" input_shape { dim: 2147483647 dim: 2147483647 }',
                    "dim: 2147483647"),
    "int64": ('layer { name: "c" type: "Input" top: "x" input_param { shape { '
              'dim: 9223372036854775807 dim: 3 } } }', "dim: 9223372036854775807"),
    "kernel": (layer("Convolution", "convolution_param { num_output: 2 kernel_size: 4294967295 }"),
               "convolution_param.kernel_size: 4294967295"),
    "pad": (layer("Convolution", "convolution_param { num_output: 2 kernel_size: 3 pad: 1000000000 }"),
            "Convolution"),
    "num_output": (layer("InnerProduct", "inner_product_param { num_output: 4000000000 }"),
                   "inner_product_param.num_output: 4000000000"),
    "embed": (layer("Embed", "embed_param { input_dim: 2000000000 num_output: 2000000000 }"),
              "embed_param.num_output: 2000000000"),
    "tiles": (layer("Tile", "tile_param { tiles: 2147483647 }"), "tile_param.tiles: 2147483647"),
    "dummy": ('layer { name: "c" type: "DummyData" top: "x" dummy_data_param { shape { dim: 60000 '
              'dim: 60000 } } }', "DummyData")}


@pytest.fixture
def limit():
    caffe.set_memory_limit(1e9)
    yield
    caffe.set_memory_limit()


@pytest.mark.parametrize("kind", TOO_LARGE)
def test_errors_name_layer_and_field(limit, kind):
    text, field = TOO_LARGE[kind]
    with pytest.raises(caffe.LayerError) as error:
        caffe.Net(text, caffe.TEST)
    assert field in str(error.value) and ("limit is 0.931 GB" in str(error.value) or kind in (
        "pad", "dummy"))


def test_parameters_of_all_layers_count(limit):
    one = 'inner_product_param { num_output: 500000 bias_term: false }'
    layers = "".join(f'layer {{ name: "c{k}" type: "InnerProduct" bottom: "x" top: "y{k}" {one} }}'
                     for k in range(4))
    with pytest.raises(caffe.LayerError, match=r'layer "c2" .*the net takes 1\.07 GB'):
        caffe.Net(INPUT + layers, caffe.TEST)


def test_a_negative_dimension_is_named():
    with pytest.raises(caffe.LayerError, match=r'layer "c" \(Input\): .*cannot have the shape'):
        caffe.Net('layer { name: "c" type: "Input" top: "x" input_param { shape { dim: -1 } } }',
                  caffe.TEST)


def test_the_machine_is_the_default():
    assert 1e8 < memory.memory_limit() < 1e15
    with pytest.raises(caffe.LayerError, match="the limit is"):
        caffe.Net(TOO_LARGE["num_output"][0].replace("4000000000", "4294967295"), caffe.TEST)
    with pytest.raises(ValueError, match="number of bytes"):
        caffe.set_memory_limit(-1)


def test_a_net_below_the_limit_is_made(limit):
    net = caffe.Net(layer("Tile", "tile_param { tiles: 3 }"), caffe.TEST)
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    np.testing.assert_array_equal(net.forward(x=x)["y"], np.tile(x, (1, 3, 1, 1)))
    with pytest.raises(ValueError, match="the limit is"):
        net.blobs["x"].reshape(10**5, 10**5)


def test_work_per_layer_does_not_grow_with_the_net(monkeypatch):
    """Counted, not timed: the lines that building runs, in nets of 300 and of 1500 layers."""
    import sys

    def steps(count):
        text = 'input: "b0" input_shape { dim: 1 }' + "".join(
            f'layer {{ name: "l{k}" type: "Power" bottom: "b{k}" top: "b{k + 1}" }}'
            for k in range(count))
        seen = [0]

        def tracer(frame, event, argument):
            seen[0] += 1
            return tracer

        before = sys.gettrace()
        sys.settrace(tracer)
        try:
            caffe.Net(text, caffe.TEST)
        finally:
            sys.settrace(before)
        return seen[0]

    steps(10)
    few, many = steps(300), steps(1500)
    assert many < 5.1 * few
