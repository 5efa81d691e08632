"""Products in 8 bits: against whole numbers in numpy, in chains, after calibration."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
import torch

import caffe
from caffe.engine.errors import CaffeError
from caffe.engine.net import calibration, int8
from caffe.engine.net.int8 import InLevels, Selecting, hidden_products
from caffe.layer_types.window import Window
from caffe.ops.int8 import Int8, Levels, int8_computable, round_filter, round_matrix
from cases import CASES
from test_plan import behind_a_convolution, data, layer, nets

pytestmark = pytest.mark.skipif(not int8_computable(), reason="no 8-bit products in this torch")

INPUT = """layer { name: "in" type: "Input" top: "x"
    input_param { shape { dim: 2 dim: 3 dim: 20 dim: 26 } } }"""


def conv(name, bottom, top, outputs=8, options="kernel_size: 3 pad: 1"):
    return f'''layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{top}"
        convolution_param {{ num_output: {outputs} {options} weight_filler {{ type: "msra" }}
                             bias_filler {{ type: "gaussian" std: 0.2 }} }} }}'''


def inner(name, bottom, top, outputs=6, options=""):
    return f'''layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{top}"
        inner_product_param {{ num_output: {outputs} {options} weight_filler {{ type: "msra" }}
                               bias_filler {{ type: "gaussian" std: 0.2 }} }} }}'''


POOL = "pooling_param { pool: MAX kernel_size: 3 stride: 2 }"
CHAIN = (INPUT, conv("c1", "x", "a"), layer("ReLU", "a", "a"), layer("Pooling", "a", "p", POOL),
         conv("c2", "p", "b"), layer("ReLU", "b", "b"), inner("f", "b", "f"),
         layer("ReLU", "f", "f"), inner("y", "f", "y", 3))


def inputs(count=3, shape=(2, 3, 20, 26)):
    return [{"x": data(*shape, seed=seed)} for seed in range(count)]


def calibrated(*layers, given=None, outputs=None):
    """(a plain net, the same in 8 bits) after one forward pass of it."""
    plain, fast = nets(*layers)
    given = inputs() if given is None else given
    fast.optimize(outputs, precision="int8", calibrate=given)
    fast.forward(**given[0])
    return plain, fast


def computes(net):
    """What computes the layers, by the name of the first of each step."""
    return {step.layer.name: step.compute for step in net._optimized._plan.steps}


def in_8_bits(net):
    return {name for name, compute in computes(net).items() if isinstance(compute, InLevels)}


def off(net, plain, given):
    """The root mean square of the difference of the outputs, of theirs."""
    found, exact = (np.concatenate([v.ravel() for v in each.forward(**given).values()])
                    for each in (net, plain))
    return np.sqrt(np.square(found - exact).mean() / np.square(exact).mean())


# --- arithmetic ----------------------------------------------------------------------------------

def test_levels_are_even_and_hold_zero():
    levels = Levels.of(-1.0, 1.55)
    assert levels == Levels(pytest.approx(0.01), 100)
    x = torch.tensor([-9.0, -1.0, 0.0, 0.0151, 1.55, 9.0])
    assert levels.round(x).tolist() == [0, 0, 100, 102, 255, 255]
    assert Levels.of(0.5, 2.55) == Levels(pytest.approx(0.01), 0)       # 0 is a level of any map
    assert Levels.of(0.0, 0.0).round(torch.zeros(2)).tolist() == [0, 0]
    assert Levels.around([Levels.of(0, 1), Levels.of(-1, 0.5)]) == Levels.of(-1, 1)


@pytest.mark.parametrize("layout", (torch.contiguous_format, torch.channels_last))
def test_rounding_keeps_the_layout_and_takes_maps_of_any_size(layout, monkeypatch):
    monkeypatch.setattr("caffe.ops.int8.PIECE", 7)
    x = torch.randn(2, 3, 5, 7).contiguous(memory_format=layout)
    q = Levels(0.02, 90).round(x)
    assert q.stride() == x.stride() and q.dtype == torch.uint8
    torch.testing.assert_close((q.float() - 90) * 0.02, x.clamp(-1.8, 3.3), atol=0.0101, rtol=0)
    assert Levels().round(x[:0]).shape == (0, 3, 5, 7)
    assert Levels().round(x[..., ::2].bfloat16().abs()).dtype == torch.uint8


@pytest.mark.parametrize("window, group", (
    (Window((3, 3), (1, 1), (1, 1), (1, 1)), 1), (Window((3, 2), (2, 1), (2, 0), (1, 1)), 1),
    (Window((3, 3), (1, 1), (2, 2), (2, 2)), 1), (Window((1, 1), (1, 1), (0, 0), (1, 1)), 2)))
@pytest.mark.parametrize("zero", (0, 77))
def test_a_convolution_is_that_of_whole_numbers(window, group, zero):
    random = np.random.RandomState(2)
    q = random.randint(0, 256, (2, 6, 9, 11))
    filters = torch.from_numpy(random.randn(5 if group == 1 else 4, 6 // group, *window.kernel)
                               .astype(np.float32))
    bias = torch.from_numpy(random.randn(len(filters)).astype(np.float32))
    rounded = round_filter(filters, window.lattice, group)
    whole = np.round(filters.numpy() / rounded.scales.numpy()[:, None, None, None]).astype(int)
    assert abs(whole).max() == 127
    sums = convolved(q - zero, whole, window, group)
    exact = sums * (0.03 * rounded.scales.numpy()[:, None, None].astype(float)) \
        + bias.numpy()[:, None, None]
    given = Levels(0.03, zero)
    x = torch.from_numpy(q.astype(np.uint8)).contiguous(memory_format=torch.channels_last)
    params = (rounded.weight, bias)
    y = Int8(given, None, torch.float32, rounded.scales).convolve(x, params, window.lattice, group, "none")
    np.testing.assert_allclose(y.numpy(), exact, rtol=1e-5, atol=1e-4)
    made = Levels.of(0.0, float(exact.max()) / 2)
    y = Int8(given, made, torch.float32, rounded.scales).convolve(x, params, window.lattice, group, "relu")
    near_levels(y, exact, made)
    torch.testing.assert_close(rounded.plain(), filters, atol=float(rounded.scales.max()) / 2,
                               rtol=0)


def convolved(q, whole, window, group):
    """The sums of a convolution of whole numbers, by loops over the filter."""
    (ph, pw), (sh, sw), (dh, dw) = window.pad, window.stride, window.dilation
    q = np.pad(q, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    kh, kw = window.kernel
    height = (q.shape[2] - dh * (kh - 1) - 1) // sh + 1
    width = (q.shape[3] - dw * (kw - 1) - 1) // sw + 1
    sums = np.zeros((len(q), len(whole), height, width), np.int64)
    for g, (part, filters) in enumerate(zip(np.split(q, group, 1), np.split(whole, group))):
        mine = slice(g * len(filters), (g + 1) * len(filters))
        for i in range(kh):
            for j in range(kw):
                seen = part[:, :, i * dh:i * dh + sh * (height - 1) + 1:sh,
                            j * dw:j * dw + sw * (width - 1) + 1:sw]
                sums[:, mine] += np.einsum("nchw,oc->nohw", seen, filters[:, :, i, j])
    return sums


def near_levels(y, exact, levels):
    """In uint8 what `exact` is; where that lies between two levels either will do."""
    wanted = np.clip(exact / levels.scale + levels.zero, 0, 255)
    assert y.dtype == torch.uint8
    assert np.abs(y.numpy() - wanted).max() < 0.51


@pytest.mark.parametrize("zero", (0, 30))
def test_a_matrix_product_is_that_of_whole_numbers(zero):
    random = np.random.RandomState(2)
    q = random.randint(0, 256, (7, 33))
    weight = torch.from_numpy(random.randn(5, 33).astype(np.float32))
    weight[3] = 0                                       # a channel without a largest weight
    rounded = round_matrix(weight)
    whole = np.round(weight.numpy() / rounded.scales.numpy()[:, None]).astype(int)
    exact = ((q - zero) @ whole.T) * (0.03 * rounded.scales.numpy().astype(float))
    x = torch.from_numpy(q.astype(np.uint8))
    product = Int8(Levels(0.03, zero), None, torch.float32, rounded.scales)
    y = product.linear(x, rounded.weight, None, "none")
    np.testing.assert_allclose(y.numpy(), exact, rtol=1e-5, atol=1e-4)
    made = Levels.of(float(exact.min()), float(exact.max()) / 2)
    product = Int8(Levels(0.03, zero), made, torch.float32, rounded.scales)
    near_levels(product.linear(x, rounded.weight, None, "none"), exact, made)
    torch.testing.assert_close(rounded.plain(), weight, atol=float(rounded.scales.max()) / 2,
                               rtol=0)


@pytest.mark.parametrize("window", (
    Window((2, 2), (2, 2), (0, 0), (1, 1)), Window((3, 3), (2, 2), (1, 1), (1, 1)),
    Window((3, 2), (3, 3), (2, 1), (1, 1))))
def test_maxima_of_uint8_are_those_of_float32(window):
    kernel, stride, pad = (f'{what}_h: {size[0]} {what}_w: {size[1]}' for what, size in (
        ("kernel", window.kernel), ("stride", window.stride), ("pad", window.pad)))
    pool = nets(INPUT, layer("Pooling", "x", "y",
                             f"pooling_param {{ {kernel} {stride} {pad} }}"), count=1)[0].layers[1]
    for size in ((40, 30), (9, 13)):
        q = torch.randint(0, 256, (2, 3, *size)).to(torch.uint8) \
            .contiguous(memory_format=torch.channels_last)
        assert torch.equal(pool.run(q)[0].float(), pool.run(q.float())[0])


# --- nets ----------------------------------------------------------------------------------------

def test_a_chain_is_handed_on_in_uint8_and_is_as_layer_by_layer(monkeypatch):
    plain, fast = calibrated(*CHAIN)
    handed = computes(fast)
    assert in_8_bits(fast) == {"c1", "c2", "f"}                 # y predicts
    assert isinstance(handed["Pooling_p"], Selecting)
    assert handed["c1"].made == handed["c2"].given and handed["c1"].fused
    assert handed["c2"].made == handed["f"].given and handed["f"].made is None
    monkeypatch.setattr(int8, "hand_on", lambda plan: None)
    _, apart = calibrated(*CHAIN)
    assert computes(apart)["c1"].made is None
    for given in inputs(4):
        wanted = apart.forward(**given)["y"]
        np.testing.assert_allclose(fast.forward(**given)["y"], wanted,
                                   atol=0.005 * abs(wanted).max())     # halves, up or to even
        assert 0 < off(fast, plain, given) < 0.05


def test_sizes_may_change_after_calibration():
    convolutions = (*CHAIN[:-3], conv("y", "b", "y"))
    plain, fast = calibrated(*convolutions)
    for net in (plain, fast):
        net.blobs["x"].reshape(1, 3, 33, 17)
    assert off(fast, plain, {"x": data(1, 3, 33, 17, seed=9)}) < 0.05


def test_a_map_that_others_read_stays_in_float32():
    plain, fast = calibrated(*CHAIN[:4], conv("c2", "p", "b"), conv("y", "b", "y"),
                             layer("Sigmoid", "a", "s"))
    assert computes(fast)["c1"].made is None and "c2" in in_8_bits(fast)
    assert off(fast, plain, inputs()[0]) < 0.05
    plain, fast = calibrated(*CHAIN, outputs=["a", "y"])
    assert computes(fast)["c1"].made is None and fast.blobs["a"].data.dtype == np.float32


def test_what_several_read_has_levels_common_to_all():
    plain, fast = calibrated(*CHAIN[:4], conv("c2", "p", "b"), conv("c3", "a", "c", 6),
                             conv("y", "b", "y"), conv("z", "c", "z"))
    found = computes(fast)
    assert found["c1"].made == found["c2"].given == found["c3"].given
    assert off(fast, plain, inputs()[0]) < 0.05


def test_a_map_in_float32_is_rounded_once_for_all_that_take_bytes(monkeypatch):
    pool = POOL.replace("size: 3", "size: 2")
    plain, fast = calibrated(
        INPUT, conv("c1", "x", "a"), layer("Sigmoid", "a", "s"), conv("c2", "s", "b"),
        layer("Pooling", "s", "p", pool), conv("c3", "p", "c"), layer("TanH", "s", "t"),
        conv("y", "b", "y"), conv("z", "c", "z"))
    rounded = []
    once = Levels.round
    monkeypatch.setattr(Levels, "round", lambda self, x: rounded.append(x.shape) or once(self, x))
    for given in inputs(2):
        assert off(fast, plain, given) < 0.05
    assert rounded == 2 * [(2, 3, 20, 26), (2, 8, 20, 26)]
    entry = computes(fast)["c2"].entry
    assert entry is computes(fast)["Pooling_p"].entry and entry._last is None


def test_a_layer_in_place_behind_a_product_sees_float32():
    bn = 'batch_norm_param { use_global_stats: false }'
    plain, fast = calibrated(INPUT, conv("c1", "x", "a"), layer("BatchNorm", "a", "a", bn),
                             layer("ReLU", "a", "a"), conv("c2", "a", "b"),
                             layer("ReLU", "b", "b", "relu_param { negative_slope: 0.1 }"),
                             conv("y", "b", "y"))
    assert in_8_bits(fast) | {"c2"} == {"c1", "c2"} and computes(fast)["c1"].made is None
    assert 0 < off(fast, plain, inputs()[0]) < 0.05


def test_normalisation_is_folded_before_weights_are_rounded():
    layers = (INPUT, conv("c1", "x", "a"), layer("BatchNorm", "a", "a"),
              layer("Scale", "a", "a", "scale_param { bias_term: true filler { value: 3 } }"),
              layer("ReLU", "a", "a"), conv("c2", "a", "b"), conv("y", "b", "y"))
    plain, fast = nets(*layers)
    for net in (plain, fast):
        for blob, value in zip(net.params["BatchNorm_a"], (0.5, 4.0, 1.0)):
            blob.data[...] = value
    fast.optimize(precision="int8", calibrate=inputs())
    assert off(fast, plain, inputs()[0]) < 0.05
    assert list(computes(fast)) == ["in", "c1", "c2", "y"] and computes(fast)["c1"].made


def test_predictions_are_products_with_no_product_behind_them():
    net, = nets(*CHAIN[:-1], layer("ReLU", "f", "g"), inner("y", "g", "y"), inner("z", "g", "z"),
                layer("Softmax", "z", "prob"), count=1)
    assert {each.name for each in hidden_products(net.nodes)} == {"c1", "c2", "f"}


def test_what_cannot_be_in_8_bits_stays():
    deep = conv("deep", "x", "d", options="kernel_size: 2 axis: 0")
    plain, fast = calibrated(
        INPUT, deep, layer("Deconvolution", "x", "u", "convolution_param { num_output: 3 "
                           'kernel_size: 2 weight_filler { type: "msra" } }'),
        inner("t", "u", "t", options="transpose: true"), inner("w", "x", "w", options="axis: 0"),
        inner("y", "t", "y"), layer("Flatten", "d", "e"), inner("z", "e", "z"))
    assert in_8_bits(fast) == set()
    assert off(fast, plain, inputs()[0]) < 1e-5


def test_a_product_that_would_be_far_off_stays(monkeypatch, caplog):
    monkeypatch.setattr(int8, "MOST_ERROR", 1e-5)
    caplog.set_level(logging.INFO, "caffe")
    plain, fast = calibrated(*CHAIN)
    assert in_8_bits(fast) == set() and off(fast, plain, inputs()[0]) < 1e-5
    assert 'layer "c1" (Convolution): not in 8 bits, its results would be 1 % off' in caplog.text


def test_values_that_are_not_finite_leave_a_product_as_it_is():
    _, fast = calibrated(*CHAIN, given=[{"x": np.full((2, 3, 20, 26), np.inf, np.float32)},
                                        *inputs()])
    assert "c1" not in in_8_bits(fast)


def test_the_log_says_how_many_and_how_far_off(caplog):
    caplog.set_level(logging.INFO, "caffe")
    calibrated(*CHAIN)
    assert "in 8 bits: 3 of 4 products; their results are" in caplog.text


def test_trained_nets_of_others_stay_near_what_the_real_caffe_computed(real_material):
    """Calibrated with the recorded input; probabilities of four characters are the farthest off."""
    models = json.loads((real_material / "models.json").read_text())
    assert len(models) == 10
    for name, files in models.items():
        recorded = np.load(real_material / files["outputs"])
        net = caffe.Net(str(real_material / files["prototxt"]), caffe.TEST,
                        weights=str(real_material / files["weights"]))
        keys = [key for key in recorded.files if key.startswith("out_")]
        given = {net.inputs[0]: recorded["in"]}
        net.optimize([key[4:] for key in keys], precision="int8", calibrate=[given])
        net.blobs[net.inputs[0]].reshape(*recorded["in"].shape)
        net.forward(**given)
        assert len(in_8_bits(net)) >= 3, name
        for key in keys:
            apart = net.blobs[key[4:]].data - recorded[key]
            assert np.square(apart).mean() < 0.1 ** 2 * np.square(recorded[key]).mean(), (name, key)


# --- calibration ---------------------------------------------------------------------------------

def test_levels_reach_as_far_as_any_of_the_inputs(monkeypatch):
    monkeypatch.setattr(int8, "CUTS", (1.0,))
    small, large = inputs(2)
    large = {"x": 3 * large["x"]}
    for given in ([small, large], [large, small]):
        _, fast = calibrated(*CHAIN, given=given)
        low, high = large["x"].min(), large["x"].max()
        assert computes(fast)["c1"].given == Levels.of(float(low), float(high))


def test_levels_stop_short_of_a_value_that_stands_alone():
    given = inputs(4)
    given[0]["x"][0, 0, 0, 0] = 40.0
    _, fast = calibrated(*CHAIN, given=given)
    levels = computes(fast)["c1"].given
    assert (255 - levels.zero) * levels.scale < 37


def test_inputs_come_from_data_layers_too():
    source = 'layer { name: "d" type: "DummyData" top: "x" dummy_data_param { shape { dim: 2 ' \
        'dim: 3 dim: 20 dim: 26 } data_filler { type: "gaussian" } } }'
    net, = nets(source, *CHAIN[1:], count=1)
    net.optimize(precision="int8", calibrate=[{}] * 3)
    net.forward()
    assert in_8_bits(net) == {"c1", "c2", "f"}


def test_a_net_is_as_it_was_where_calibration_breaks_off():
    plain, net = nets(*CHAIN)

    def broken():
        yield inputs()[0]
        raise OSError("no more images")
    with pytest.raises(OSError, match="no more"):
        net.optimize(precision="int8", calibrate=broken())
    assert net._optimized is None
    assert off(net, plain, inputs()[0]) < 1e-6


def test_what_is_missing_is_said(monkeypatch):
    net, = nets(*CHAIN, count=1)
    for options, words in (
            ({"precision": "int8"}, 'takes calibrate=..., inputs such as the net will see'),
            ({"precision": "int8", "calibrate": []}, "calibrate gave no input"),
            ({"precision": "bfloat16", "calibrate": inputs()}, 'calibrate is for precision "int8"'),
            ({"precision": "int8", "calibrate": inputs(), "backend": "auto"},
             'leave out backend "?\'?auto')):
        with pytest.raises(CaffeError, match=words):
            net.optimize(**options)
    double, = nets(*CHAIN, count=1, dtype="float64")
    with pytest.raises(CaffeError, match="nets in float32 on the CPU"):
        double.optimize(precision="int8", calibrate=inputs())
    monkeypatch.setattr(calibration, "int8_computable", lambda: False)
    with pytest.raises(CaffeError, match="no products of 8-bit numbers"):
        net.optimize(precision="int8", calibrate=inputs())


def test_a_slow_processor_is_said_once(monkeypatch, caplog):
    monkeypatch.setattr(calibration, "fast_int8", lambda: False)
    _, fast = calibrated(*CHAIN)
    assert caplog.text.count("no VNNI instructions") == 1 and in_8_bits(fast)


# --- weights -------------------------------------------------------------------------------------

def test_new_weights_ask_for_a_new_calibration(tmp_path):
    _, fast = calibrated(*CHAIN)
    fast.save(str(tmp_path / "w.caffemodel"))
    fast.copy_from(str(tmp_path / "w.caffemodel"))
    with pytest.raises(CaffeError, match="weights have changed since it was calibrated"):
        fast.forward(**inputs()[0])
    fast.optimize(precision="int8", calibrate=inputs())
    fast.forward(**inputs()[0])


def test_weights_are_there_once_and_read_as_they_compute():
    shared = [line.replace('weight_filler', 'weight_filler', 1) for line in CHAIN]
    both = inner("f", "b", "f").replace("inner_product_param", 'param { name: "w" } '
                                        'param { name: "v" } inner_product_param')
    again = both.replace('name: "f"', 'name: "g"').replace('top: "f"', 'top: "g"')
    plain, fast = calibrated(*shared[:6], both, again, inner("y", "f", "y"), inner("z", "g", "z"))
    found = computes(fast)
    assert found["f"].params[0] is found["g"].params[0]
    assert fast.params["f"][0]._data._device is None        # given up
    exact, rounded = (net.params["f"][0].data for net in (plain, fast))
    step = abs(exact).max(1, keepdims=True) / 127
    assert abs(exact - rounded).max() > 0 and (abs(exact - rounded) <= 0.501 * step).all()


def test_weights_that_a_user_views_stay():
    plain, fast = nets(*CHAIN)
    view = fast.params["f"][0].data
    fast.optimize(precision="int8", calibrate=inputs())
    fast.forward(**inputs()[0])
    np.testing.assert_array_equal(view, plain.params["f"][0].data)


# --- every layer type ----------------------------------------------------------------------------

@pytest.mark.parametrize("kind, case", [pytest.param(kind, case, id=f"{kind}-{i}")
                                        for kind, cases in sorted(CASES.items())
                                        for i, case in enumerate(cases)])
def test_every_layer_type_may_stand_behind_a_product_in_8_bits(kind, case, monkeypatch):
    text = behind_a_convolution(kind, case)
    if text is None or not case.tops or case.phase != "TEST":
        pytest.skip("no net for testing, or none with such a neighbour")
    monkeypatch.setattr(int8, "hidden_products", lambda nodes: {node.layer for node in nodes})
    plain, fast = nets(text)
    outputs = [name for name in plain.outputs if name[0] == "t"]
    random = np.random.default_rng(7)
    for mine, other in zip(plain.learnable_params, fast.learnable_params):
        mine.data[...] = random.uniform(0.5, 2, mine.shape)
        other.data[...] = mine.data
    given = {f"b{i}": bottom.draw(bottom.shape, random).astype(np.float32)
             for i, bottom in enumerate(case.bottoms)}
    fast.optimize(outputs, precision="int8", calibrate=[given])
    for net in (plain, fast):
        caffe.set_random_seed(5)
        net.forward(**given)
    for name in outputs:
        found, exact = fast.blobs[name].data, plain.blobs[name].data
        assert found.shape == exact.shape and found.dtype == np.float32
        size = np.sqrt(np.square(exact).mean()) or 1
        apart = np.sqrt(np.square(found - exact).mean()) / size
        assert apart < 0.1 or kind in SUDDEN, (name, apart)


SUDDEN = {"ArgMax"}     # a little more or less of the bottom may be a great deal of the top
