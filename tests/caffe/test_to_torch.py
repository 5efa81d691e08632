"""net.to_torch(): a module that computes what the net computes, and is one of torch's like others."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch

import caffe
from caffe.engine.formats.prototxt import read_net
from caffe.engine.layer import Phase
from caffe.engine.net.net import Net
from test_layer_contract import ALL, prototxt
from test_plan import BRANCHES, DOUBLING, INPUT, Doubling, conv, data, layer, nets  # noqa: F401

TWO = """layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" param { name: "w" } param { lr_mult: 0 }
    inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "fc.b" type: "InnerProduct" bottom: "a" top: "b" param { name: "w" }
    inner_product_param { num_output: 3 bias_term: false } }"""
SQUARE = 'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }'
NORM = layer("BatchNorm", "x", "y"), layer("Scale", "y", "z", "scale_param { bias_term: true }")


class Cubing(caffe.Layer):
    """A layer of a user, with a backward of its own."""

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data ** 3

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = top[0].diff * 3 * bottom[0].data ** 2


def filled(kind, case):
    """A net of the case's layer, with the case's values in its inputs."""
    caffe.set_random_seed(3)
    net = Net.from_proto(read_net(prototxt(kind, case)), Phase[case.phase])
    random = np.random.default_rng(7)
    values = {f"b{i}": np.asarray(b.draw(b.shape, random), np.float32)
              for i, b in enumerate(case.bottoms)}
    return net, values


def tensors(values):
    return {name: torch.from_numpy(value.copy()) for name, value in values.items()}


def forward(net, values):
    caffe.set_random_seed(11)
    return {name: value.copy() for name, value in net.forward(**values).items()}


@pytest.mark.parametrize("kind, case", ALL)
def test_every_layer_computes_what_it_computes_in_the_net(kind, case):
    net, values = filled(kind, case)
    if not net.outputs or not case.bottoms:
        pytest.skip("has no top, or is a source")
    module = net.to_torch()
    expected = forward(net, values)
    caffe.set_random_seed(11)
    found = module(**tensors(values))
    assert list(found) == list(net.outputs)
    for name, want in expected.items():
        np.testing.assert_allclose(found[name].detach().numpy(), want, rtol=1e-5, atol=1e-5)


def test_branches_in_place_and_aliases():
    net, = nets(*BRANCHES, count=1)
    module, inner = net.to_torch(), net.to_torch(["e", "b", "a"])
    x = data(2, 3, 8, 10)
    expected = net.forward(blobs=["e", "b", "a"], x=x)
    found = {**module(torch.from_numpy(x)), **inner(x=torch.from_numpy(x))}
    assert set(found) == set(expected) and list(inner(torch.from_numpy(x))) == ["e", "b", "a"]
    for name, value in found.items():
        np.testing.assert_allclose(value.detach().numpy(), expected[name], rtol=1e-5, atol=1e-6)


def test_a_layer_in_place_changes_what_shares_its_memory():
    net, = nets(INPUT, layer("TanH", "x", "a"),
                layer("Reshape", "a", "r", "reshape_param { shape { dim: 0 dim: -1 } }"),
                layer("ReLU", "r", "r"), layer("Power", "a", "b"), count=1)
    module, x = net.to_torch(), data(2, 3, 8, 10)
    expected = net.forward(x=x)
    np.testing.assert_allclose(module(torch.from_numpy(x))["b"], expected["b"], atol=1e-6)
    assert expected["b"].min() == 0


def test_it_keeps_nothing_of_the_net():
    net, = nets(*BRANCHES, count=1)
    module, x = net.to_torch(), torch.from_numpy(data(2, 3, 8, 10))
    before = module(x)["prob"]
    for blob in net.learnable_params:
        blob.data[...] = 0
    torch.testing.assert_close(module(x)["prob"], before)
    assert module(x[:1])["prob"].shape == (1, 3)        # and takes other sizes


def test_parameters_bear_the_names_of_layers_and_formulas():
    net, = nets(SQUARE, TWO, count=1)
    module = net.to_torch()
    assert list(module.state_dict()) == ["a.weight", "a.bias", "fc_b.weight"]
    assert module.a.weight is module.fc_b.weight and len(list(module.parameters())) == 2
    assert module.a.weight.requires_grad and not module.a.bias.requires_grad
    norm, = nets(INPUT, *NORM, count=1)
    module = norm.to_torch()
    assert [name for name, _ in module.named_buffers()] == [
        "BatchNorm_y.mean", "BatchNorm_y.variance", "BatchNorm_y.factor"]
    assert [name for name, _ in module.named_parameters()] == ["Scale_z.scale", "Scale_z.bias"]


@pytest.mark.parametrize("name", ["type", "forward", "conv1/7x7", "inputs", "_steps"])
def test_layers_may_have_names_that_torch_has(name):
    net, = nets(SQUARE, layer("InnerProduct", "x", "y", """inner_product_param { num_output: 2
        weight_filler { type: 'xavier' } }""").replace("InnerProduct_y", name), count=1)
    module, x = net.to_torch(), data(2, 3)
    again = copy.deepcopy(module)
    for blob in again.parameters():
        torch.nn.init.zeros_(blob)
    again.load_state_dict(module.state_dict())
    np.testing.assert_allclose(again(torch.from_numpy(x))["y"].detach(), net.forward(x=x)["y"],
                               atol=1e-6)


def test_training_is_the_training_of_the_net():
    net, = nets("force_backward: true", INPUT, *NORM, count=1, phase=caffe.TRAIN)
    module, x = net.to_torch(), data(2, 3, 8, 10)
    assert module.training
    for _ in range(2):
        expected, found = net.forward(x=x)["z"], module(torch.from_numpy(x))["z"]
        np.testing.assert_allclose(found.detach(), expected, atol=1e-5)
    for buffer, blob in zip(module.BatchNorm_y.buffers(), net.params["BatchNorm_y"], strict=True):
        np.testing.assert_allclose(buffer, blob.data, rtol=1e-5)
    net.blobs["z"].diff[...] = 1 + np.arange(480).reshape(2, 3, 8, 10)
    net.run_backward()
    (found * torch.from_numpy(net.blobs["z"].diff.copy())).sum().backward()
    np.testing.assert_allclose(module.Scale_z.scale.grad, net.params["Scale_z"][0].diff, rtol=1e-4)
    np.testing.assert_array_equal(module.eval()(torch.from_numpy(x))["z"].detach(),
                                  module(torch.from_numpy(x))["z"].detach())
    assert not np.allclose(module(torch.from_numpy(x))["z"].detach(), expected)


def test_eval_and_train_switch_dropout_but_not_where_the_text_fixes_the_phase():
    fixed = layer("Dropout", "x", "b", "phase: TEST")
    net, = nets(INPUT, layer("Dropout", "x", "a"), fixed, count=1)
    module, x = net.to_torch(), torch.ones(2, 3, 8, 10)
    assert not module.training and all((y == 1).all() for y in module(x).values())
    found = module.train()(x)
    assert set(found["a"].unique().tolist()) == {0, 2} and (found["b"] == 1).all()


def test_double_precision_goes_through_all_of_it():
    weighted = """layer { name: "l" type: "SoftmaxWithLoss" bottom: "x" bottom: "t" top: "loss"
        loss_param { weight_by_label_freqs: true class_weighting: 1 class_weighting: 2
                     class_weighting: 3 } }"""
    net, = nets(SQUARE, SQUARE.replace('"in"', '"t"').replace('"x"', '"t"').replace("dim: 3", ""),
                weighted, count=1)
    loss = net.to_torch().double()(torch.rand(2, 3).double(), torch.tensor([0.0, 2.0]))["loss"]
    assert loss.dtype == torch.float64


def test_another_device_goes_through_all_of_it():
    prior = layer("PriorBox", "x", "boxes", "prior_box_param { min_size: 2 img_size: 20 }")
    net, = nets(*BRANCHES, prior, count=1)
    found = net.to_torch().to("meta")(torch.empty(2, 3, 8, 10, device="meta"))
    assert {value.device.type for value in found.values()} == {"meta"}


def test_what_data_layers_make_are_inputs():
    source = """layer { name: "d" type: "DummyData" top: "x" top: "label"
        dummy_data_param { shape { dim: 2 dim: 3 } shape { dim: 2 } } }"""
    net, = nets(source, layer("SoftmaxWithLoss", "x label", "loss"), layer("TanH", "x", "y"),
                count=1, phase=caffe.TRAIN)
    assert net.to_torch().inputs == ["x", "label"] and net.to_torch(["y"]).inputs == ["x"]
    found = net.to_torch()(label=torch.tensor([0.0, 1]), x=torch.zeros(2, 3))
    np.testing.assert_allclose(found["loss"], np.log(3), rtol=1e-5)


def test_python_layers_run_on_blobs_in_the_module_with_their_own_backward():
    cubing = DOUBLING.replace(DOUBLING.split("module: ")[1].split()[0], "'test_to_torch'").replace(
        "Doubling", "Cubing")
    net, = nets("force_backward: true", INPUT, layer("Python", "x", "p", cubing),
                layer("TanH", "p", "y"), count=1)
    module, x = net.to_torch(), torch.from_numpy(data(2, 3, 8, 10)).requires_grad_()
    expected = net.forward(x=x.detach().numpy())["y"].copy()
    found = copy.deepcopy(module)(x)["y"]
    np.testing.assert_allclose(found.detach(), expected, atol=1e-6)
    found.sum().backward()
    net.blobs["y"].diff[...] = 1
    net.run_backward()
    np.testing.assert_allclose(x.grad, net.blobs["x"].diff, atol=1e-6)
    assert net.blobs["x"].diff.any()
    with pytest.raises(caffe.CaffeError, match='no blob "yy";.*"y"'):
        net.to_torch(["yy"])


def test_states_go_on_from_call_to_call_as_in_the_net():
    lstm = layer("LSTM", "s c", "h", """recurrent_param { num_output: 4
        weight_filler { type: 'uniform' min: -1 max: 1 } }""")
    text = """layer { name: "in" type: "Input" top: "s" top: "c" input_param {
        shape { dim: 3 dim: 2 dim: 5 } shape { dim: 3 dim: 2 } } }"""
    net, = nets(text, lstm, count=1)
    module, x, going = net.to_torch(), data(3, 2, 5), np.ones((3, 2), np.float32)
    for _ in range(3):
        expected = net.forward(s=x, c=going)["h"].copy()
        found = module(torch.from_numpy(x), torch.from_numpy(going))["h"]
        np.testing.assert_allclose(found.detach(), expected, atol=1e-6)


def data_of(net):
    return torch.from_numpy(net.blobs["x"].data.copy())


@pytest.mark.parametrize("values, named", [([], {}), ([1], {"x": 1}), ([1, 2], {}), ([], {"y": 1})])
def test_inputs_are_named_when_they_do_not_fit(values, named):
    net, = nets(SQUARE, TWO, count=1)
    with pytest.raises(TypeError, match="inputs are x; each is to be given once, got"):
        net.to_torch()(*values, **named)


def test_torch_can_export_it():
    prior = layer("PriorBox", "x", "boxes", "prior_box_param { min_size: 2 img_size: 20 }")
    net, = nets(*BRANCHES, *(text.replace('"y"', '"n"') for text in NORM), prior, count=1)
    module, x = net.to_torch(), torch.from_numpy(data(2, 3, 8, 10))
    program = torch.export.export(module, (), {"x": x})
    found, again, expected = program.module()(x=x), module(x), net.forward(x=x.numpy())
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name].detach(), value, atol=1e-5)
        np.testing.assert_allclose(again[name].detach(), value, atol=1e-5)


def test_real_networks_give_what_the_real_caffe_gave(real_material):
    for name, files in json.loads((real_material / "models.json").read_text()).items():
        recorded = np.load(real_material / files["outputs"])
        module = Net(str(real_material / files["prototxt"]), caffe.TEST,
                     weights=str(real_material / files["weights"])).to_torch()
        found = module(torch.from_numpy(recorded["in"]))
        for key, value in found.items():
            wanted = recorded[f"out_{key}"]
            np.testing.assert_allclose(value.detach(), wanted, rtol=1e-5, err_msg=f"{name} {key}",
                                       atol=1e-5 * np.abs(wanted).max())


def test_torch_can_compile_it():
    net, = nets(*BRANCHES, count=1)
    module, x = net.to_torch(), torch.from_numpy(data(2, 3, 8, 10))
    compiled = torch.compile(module, backend="eager", fullgraph=True)
    for name, value in net.forward(x=x.numpy()).items():
        np.testing.assert_allclose(compiled(x)[name].detach(), value, atol=1e-5)
