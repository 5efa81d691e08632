"""Running nets: forward and backward in pycaffe's forms, lazy recording, dtype, errors."""

import numpy as np
import pytest
import torch

import caffe
from caffe.engine.formats.prototxt import read_net
from caffe.engine.net.net import Net

CHAIN = """
force_backward: true
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "leaky" type: "ReLU" bottom: "x" top: "x" relu_param { negative_slope: 0.5 } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y"
        inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "sig" type: "Sigmoid" bottom: "y" top: "y" }
layer { name: "ip2" type: "InnerProduct" bottom: "y" top: "z"
        inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
"""


def chain(phase=caffe.TEST, **options):
    caffe.set_random_seed(1)
    net = Net.from_proto(read_net(CHAIN), phase, **options)
    net.blobs["x"].data[...] = [[-1, 2, 3], [4, -5, 6]]
    return net


def run(net):
    net.forward()
    net.blobs["z"].diff[...] = [[1, -2], [3, 4]]
    net.backward()
    return net.blobs["x"].diff.copy(), net.params["ip"][0].diff.copy()


def test_recording_on_demand_gives_the_gradients_of_recording_always():
    for lazy, always in zip(run(chain(caffe.TEST)), run(chain(caffe.TRAIN))):
        assert np.abs(always).max() > 0
        np.testing.assert_allclose(lazy, always, rtol=1e-6)


def test_test_phase_keeps_nothing_for_backward_until_asked():
    net = chain()
    net.forward()
    assert all(y._tape is None for y in net.layers if hasattr(y, "_tape"))
    net.backward()
    assert net.layer_dict["ip"]._tape is not None


def test_gradients_agree_with_finite_differences_in_float64():
    net = chain(dtype="float64")
    x = net.blobs["x"].data.copy()
    top = np.array([[1, -2], [3, 4.]])

    def value(x):
        net.blobs["x"].data[...] = x
        return (net.forward()["z"] * top).sum()

    expected = np.zeros_like(x)
    for i in np.ndindex(*x.shape):
        step = np.zeros_like(x)
        step[i] = 1e-6
        expected[i] = (value(x + step) - value(x - step)) / 2e-6
    net.blobs["x"].data[...] = x
    np.testing.assert_allclose(run(net)[0], expected, rtol=1e-6)


def test_backward_may_run_again_with_other_diffs_and_parameters_add_up():
    net = chain(caffe.TRAIN)
    x_diff, w_diff = run(net)
    net.blobs["z"].diff[...] *= 2
    net.backward()
    np.testing.assert_allclose(net.blobs["x"].diff, 2 * x_diff, rtol=1e-6)
    np.testing.assert_allclose(net.params["ip"][0].diff, 3 * w_diff, rtol=1e-5)
    net.clear_param_diffs()
    assert (net.params["ip"][0].diff == 0).all()


@pytest.mark.parametrize("phase", [caffe.TRAIN, caffe.TEST])
@pytest.mark.parametrize("held_before", [True, False])
def test_backward_reads_what_was_written_to_a_blob_after_forward(phase, held_before):
    net = chain(phase)
    view = net.blobs["y"].data if held_before else None
    net.forward()
    view = net.blobs["y"].data if view is None else view
    view[...] = np.linspace(-1, 2, 10).reshape(2, 5)
    y, dz = view.copy(), np.array([[1, -2], [3, 4]], np.float32)
    net.blobs["z"].diff[...] = dz
    net.backward()
    dy = dz @ net.params["ip2"][0].data * y * (1 - y)       # the Sigmoid lies in place on y
    np.testing.assert_allclose(net.params["ip2"][0].diff, dz.T @ y, rtol=1e-5)
    np.testing.assert_allclose(net.params["ip"][0].diff, dy.T @ net.blobs["x"].data, rtol=1e-5)
    leaky = np.where(net.blobs["x"].data > 0, 1, 0.5)
    np.testing.assert_allclose(net.blobs["x"].diff, leaky * (dy @ net.params["ip"][0].data),
                               rtol=1e-5)


# type, options, Caffe's derivative from bottom x, top y and the gradient g of the top
DERIVATIVES = [
    ("ReLU", "", lambda x, y, g: g * (x > 0)),
    ("Clip", "clip_param { min: -1 max: 1 }", lambda x, y, g: g * ((x >= -1) & (x <= 1))),
    ("Sigmoid", "", lambda x, y, g: g * y * (1 - y)),
    ("TanH", "", lambda x, y, g: g * (1 - y * y)),
    ("ELU", "elu_param { alpha: 2 }", lambda x, y, g: g * np.where(x > 0, 1, y + 2)),
    ("Exp", "exp_param { base: 2 scale: 3 }", lambda x, y, g: g * y * 3 * np.log(2)),
    ("Power", "power_param { power: 3 scale: 2 shift: 9 }",
     lambda x, y, g: g * 6 * y / (9 + 2 * x)),
    ("Power", "power_param { power: 2 scale: 2 shift: 9 }", lambda x, y, g: g * 4 * (9 + 2 * x)),
    ("Softmax", "", lambda x, y, g: y * (g - (g * y).sum(1, keepdims=True))),
    ("Dropout", "phase: TEST", lambda x, y, g: g),
]


@pytest.mark.parametrize("phase", [caffe.TRAIN, caffe.TEST])
@pytest.mark.parametrize("edited", ["x", "y", "xy", ""])
@pytest.mark.parametrize("kind, options, derivative", DERIVATIVES)
def test_derivatives_come_of_the_blobs_that_caffe_reads(kind, options, derivative, edited, phase):
    net = Net.from_proto(read_net(f"""force_backward: true
        layer {{ name: "in" type: "Input" top: "x" input_param {{ shape {{ dim: 2 dim: 3 }} }} }}
        layer {{ name: "l" type: "{kind}" bottom: "x" top: "y" {options} }}"""), phase)
    x, g = np.array([[-1, 2, 3], [0.5, -2, 0.1]]), np.array([[1, -2, 3], [4, 5, -6.]])
    net.forward(x=x)
    for name in edited:
        net.blobs[name].data[...] = net.blobs[name].data[:, ::-1] + 0.25
    values = [net.blobs[name].data.copy() for name in "xy"]
    for _ in range(2):
        net.backward(y=g)
        np.testing.assert_allclose(net.blobs["x"].diff, derivative(*values, g), rtol=1e-5)


@pytest.mark.parametrize("phase", [caffe.TRAIN, caffe.TEST])
@pytest.mark.parametrize("held_before", [True, False])
def test_backward_reads_weights_as_they_are(phase, held_before):
    net = chain(phase)
    weights = net.params["ip2"][0].data if held_before else None
    net.forward()
    weights = net.params["ip2"][0].data if weights is None else weights
    weights[...] = np.linspace(-1, 1, 10).reshape(2, 5)
    y, dz = net.blobs["y"].data, np.array([[1, -2], [3, 4]], np.float32)
    net.blobs["z"].diff[...] = dz
    net.backward()
    dy = dz @ weights * y * (1 - y)
    np.testing.assert_allclose(net.params["ip"][0].diff, dy.T @ net.blobs["x"].data, rtol=1e-5)


def test_a_net_of_a_users_class_may_have_methods_of_any_name(tmp_path):
    class Own(caffe.Net):
        def run(self, x):
            return self.forward(x=x)["z"]

        build = call = nodes_of = fill = run_backward = run

    path = tmp_path / "net.prototxt"
    path.write_text(CHAIN)
    net = Own(str(path), caffe.TEST)
    assert net.run(np.ones((2, 3))).shape == (2, 2)
    net.backward()
    assert net.forward_backward() == 0


def test_a_loss_keeps_the_differences_of_its_forward_as_caffe_does():
    net = Net.from_proto(read_net("""force_backward: true
        layer { name: "in" type: "Input" top: "x" top: "t" input_param { shape { dim: 2 dim: 3 } } }
        layer { name: "l" type: "EuclideanLoss" bottom: "x" bottom: "t" top: "loss" }"""),
                         caffe.TRAIN)
    net.forward(x=np.ones((2, 3)), t=np.zeros((2, 3)))
    net.blobs["x"].data[...] = 7
    net.backward()
    assert (net.blobs["x"].diff == 0.5).all()


def test_forward_from_an_edited_blob_and_back():
    net = chain()
    net.forward()
    net.blobs["y"].data[...] = 99
    out = net.forward(start="ip2")["z"]
    np.testing.assert_allclose(out, net.blobs["y"].data @ net.params["ip2"][0].data.T, rtol=1e-5)
    net.blobs["z"].diff[...] = 1
    net.backward(end="ip2")
    assert abs(net.blobs["y"].diff).sum() > 0


def test_forward_fills_inputs_and_returns_what_is_asked():
    net = chain()
    out = net.forward(blobs=["y"], x=np.ones((2, 3)))
    assert list(out) == ["z", "y"] and out["y"].shape == (2, 5)
    assert list(net.forward(end="ip")) == ["y"]


def test_reshape_of_an_input_carries_through():
    net = chain()
    net.blobs["x"].reshape(7, 3)
    net.reshape()
    assert net.blobs["z"].shape == (7, 2)
    net.blobs["x"].reshape(4, 3)
    assert net.forward()["z"].shape == (4, 2)


@pytest.mark.parametrize("call, message", [
    (lambda n: n.forward(w=np.ones(3)), '"w" is not an input'),
    (lambda n: n.forward(x=np.ones((3, 3))), r"has the shape \(2, 3\), got \(3, 3\)"),
    (lambda n: n.forward(end="ipp"), 'no layer "ipp"; did you mean'),
])
def test_wrong_calls_say_what_they_got(call, message):
    with pytest.raises(ValueError, match=message):
        call(chain())


def test_bottoms_that_do_not_fit_name_the_layer():
    net = chain()
    net.blobs["x"].reshape(2, 4)
    with pytest.raises(caffe.LayerError, match='layer "ip"'):
        net.forward()


def test_a_layer_that_cannot_be_built_is_named_with_its_file(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(CHAIN.replace('type: "Sigmoid"', 'type: "Sigmoyd"'))
    with pytest.raises(caffe.LayerError, match=r'net\.prototxt: layer "sig".*"Sigmoid"'):
        caffe.Net(str(path), caffe.TEST)
    (tmp_path / "solver.prototxt").write_text('net: "net.prototxt" base_lr: 1 lr_policy: "fixed"')
    with pytest.raises(caffe.LayerError, match=r'net\.prototxt: layer "sig"'):
        caffe.get_solver(str(tmp_path / "solver.prototxt"))


@pytest.mark.parametrize("phase", [caffe.TRAIN, caffe.TEST])
def test_backward_before_forward_reads_blobs_as_they_are(phase):
    net = chain(phase)
    dz = np.array([[1, -2], [3, 4]], np.float32)
    net.blobs["y"].data[...] = y = np.full((2, 5), 0.25, np.float32)
    net.blobs["z"].diff[...] = dz
    net.backward()
    dy = dz @ net.params["ip2"][0].data * y * (1 - y)
    leaky = np.where(net.blobs["x"].data > 0, 1, 0.5)
    np.testing.assert_allclose(net.blobs["x"].diff, leaky * (dy @ net.params["ip"][0].data),
                               rtol=1e-5)
    for lazy, always in zip(run(chain(caffe.TEST)), run(net)):
        assert lazy.shape == always.shape


def test_both_constructors(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(CHAIN)
    net = caffe.Net(str(path), caffe.TEST)
    net.save(str(tmp_path / "w.caffemodel"))
    for other in (caffe.Net(str(path), str(tmp_path / "w.caffemodel"), caffe.TEST),
                  caffe.Net(str(path), caffe.TEST, weights=str(tmp_path / "w.caffemodel")),
                  caffe.Net(str(path), phase=caffe.TEST, weights=str(tmp_path / "w.caffemodel"))):
        assert (other.params["ip"][0].data == net.params["ip"][0].data).all()
    with pytest.raises(TypeError, match="needs a phase"):
        caffe.Net(str(path))


def test_phase_prints_its_name_and_equals_caffes_number():
    assert str(caffe.TEST) == "TEST" and f"{caffe.TRAIN}" == "TRAIN"
    assert caffe.TEST == 1 and caffe.TRAIN == 0


def test_gpu_without_a_device_is_a_clear_error(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(caffe.CaffeError, match="set_mode_cpu"):
        caffe.set_mode_gpu()


def test_a_loss_weight_outlives_a_look_at_the_gradient_after_reshape():
    net = Net.from_proto(read_net("""
        layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
        layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" loss_weight: 3
                inner_product_param { num_output: 1 } }"""), caffe.TRAIN)
    net.blobs["x"].reshape(4, 3)
    net.reshape()
    assert (net.blobs["y"].diff == 3).all()
    net.blobs["x"].data[...] = 1
    net.forward_backward()
    np.testing.assert_array_equal(net.params["ip"][0].diff, [[12, 12, 12]])


def test_on_a_gpu_convolutions_keep_the_precision_of_float32(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.backends.cudnn.allow_tf32", True)
    try:
        caffe.set_mode_gpu()
        assert not torch.backends.cudnn.allow_tf32
    finally:
        caffe.set_mode_cpu()
