"""Frozen layers, clipped gradients, averaged weights, bfloat16: as `mnc train` takes them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import caffe
from caffe.extend import read_net, read_solver
from mnc import cli
from mnc.commands.train_fitting import choose_frozen
from mnc.config import cfg, changes_in_file, overridden
from mnc.data import get_dataset
from mnc.data.roidb import prepare
from mnc.nets import Layout, generate
from mnc.nets.fit import TrainingError
from mnc.training.freezing import freeze_layers
from mnc.training.loop import Care, SolverWrapper
from mnc.training.schedule import Schedule


@pytest.fixture
def trained(tiny_model, tiny_scenes, tmp_path, mini_cfg):
    """(SolverWrapper, parameters by layer) of the tiny net trained from the same seeds."""
    bases = prepare(get_dataset(f"sbd:{tiny_scenes}:train"))

    def trained(name, iterations, resume=None, **settings):
        np.random.seed(3)
        caffe.set_random_seed(3)
        with overridden({f"TRAIN.{key}": value for key, value in settings.items()}):
            wrapper = SolverWrapper(str(tiny_model / "solver.prototxt"), *bases, tmp_path / name,
                                    care=Care(resume))
            if resume:
                wrapper.restore(resume)
            wrapper.train_model(iterations)
        return wrapper, values(wrapper.solver.net)
    return trained


def values(net):
    return {f"{name} {i}": blob.data.copy() for name, blobs in net.params.items()
            for i, blob in enumerate(blobs)}


def assert_same(ours, theirs):
    assert set(ours) == set(theirs)
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def test_bfloat16_trains_float32_weights(trained):
    (_, exact), (wrapper, rounded) = trained("a", 2), trained("b", 2, PRECISION="bf16")
    assert (exact["fc6 0"] != rounded["fc6 0"]).any() and exact["fc6 0"].dtype == np.float32
    for name, value in exact.items():
        distance = np.linalg.norm(rounded[name] - value)
        assert distance < 0.05 * np.linalg.norm(value) + 0.01, name
    assert changes_in_file(wrapper.written[-1].with_name(
        wrapper.written[-1].name.removesuffix(".caffemodel.h5") + ".yml"))[
            "TRAIN.PRECISION"] == "bf16"


def test_snapshots_hold_the_average_ready_for_testing(trained, tiny_model):
    wrapper, raw = trained("ema", 3, EMA=0.9)
    average = wrapper.solver.companions["average"]
    net = wrapper.solver.net
    owners = [f"{layer.name} {i}" for number, layer in enumerate(net.layers)
              for i in range(len(layer.blobs)) if net.param_id(number, i) == (number, i)]
    shown = dict(zip(owners, average.values, strict=True))
    kept = caffe.Net(str(tiny_model / "test.prototxt"), caffe.TEST)
    kept.copy_from(str(wrapper.written[-1]))
    for name in ("bbox_pred 0", "bbox_pred 1", "conv1_1 0"):
        layer, i = name.split()
        value = shown[name].numpy()
        assert (value != raw[name]).any()
        if layer == "bbox_pred":
            stds = np.tile(cfg.TRAIN.BBOX_NORMALIZE_STDS, len(value) // 4)
            value = value * stds.reshape(-1, *[1] * (value.ndim - 1))
        np.testing.assert_allclose(kept.params[layer][int(i)].data, value, rtol=1e-5, atol=1e-9)


def test_resuming_with_an_average_and_bfloat16_is_exact(trained):
    options = {"EMA": 0.9, "PRECISION": "bf16", "SNAPSHOT_ITERS": 2}
    whole, expected = trained("whole", 4, **options)
    first, _ = trained("parts", 2, **options)
    state = str(first.written[-1]).replace("caffemodel", "solverstate")
    second, found = trained("parts", 4, resume=state, **options)
    assert_same(expected, found)
    ends = []
    for wrapper in (whole, second):
        with wrapper.solver.export(wrapper.solver.net):
            ends.append(values(wrapper.solver.net))
    assert_same(*ends)


# --- frozen layers -------------------------------------------------------------------------------

@pytest.fixture
def flags(tiny_scenes, tmp_path, monkeypatch):
    """Run `mnc train` with these flags up to its first iteration; the SolverWrapper."""
    def run(*words, source=("--net", "Mini")):
        found = []
        monkeypatch.setattr(SolverWrapper, "train_model",
                            lambda wrapper, iterations, **about: found.append(wrapper))
        monkeypatch.setattr("mnc.commands.train._run_to_the_end", lambda wrapper, *rest: 0
                            if found.append(wrapper) is None else 1)
        code = cli.main(["train", "--cpu", *source, "--imdb", f"sbd:{tiny_scenes}:train", "--out",
                         str(tmp_path / "out"), "--no-fit", "--no-check-data", "--iters", "2",
                         *words])
        return found[0] if not code else None
    return run


@pytest.fixture
def weights(tmp_path):
    """Of Mini, as its fillers fill."""
    train, *_ = generate("Mini", "mnc_5stage", tmp_path / "made", classes=6)
    net = caffe.Net(str(train), caffe.TRAIN)
    for blobs in net.params.values():
        if len(blobs) == 3:                     # statistics of normalisation: mean 0, variance 1
            blobs[1].data[...] = blobs[2].data[...] = 1
    net.save_hdf5(str(tmp_path / "made/weights.h5"))
    return str(tmp_path / "made/weights.h5")


def test_frozen_layers_keep_their_weights_and_cost_no_backward(flags, weights):
    solver = flags("--freeze", "conv1, conv2", "--weights", weights).solver
    before = values(solver.net)
    solver.step(1)
    after = values(solver.net)
    moved = {name for name in before if (before[name] != after[name]).any()}
    stages = ("conv1", "bn1", "scale1", "conv2", "bn2", "scale2")
    assert {name for name in before if name.startswith(stages)} >= {"bn2_1 0", "scale2_1 1"}
    assert not any(name.startswith(stages) for name in moved)
    assert {"fc6 0", "rpn_conv_3x3 0", "conv3_1 0", "bn3_1 0"} <= moved
    backward = [node.layer.name for node in solver.net.nodes if node.need_backward]
    assert not any(name.startswith((*stages, "relu1", "relu2", "pool1")) for name in backward)


def test_names_stand_for_stages_and_shared_parameters():
    net = caffe.proto.caffe_pb2.NetParameter()
    for name, param in (("conv1_1", ""), ("conv1_2", "w"), ("conv10", ""), ("other", "w"),
                        ("bn1", "")):
        layer = net.layer.add(name=name, type="BatchNorm" if name == "bn1" else "Convolution")
        if param:
            layer.param.add(name=param)
    net.layer.add(name="conv1_relu", type="ReLU")
    net.layer.add(name="conv3", type="Convolution", top=["c"])
    net.layer.add(name="scale", type="Scale", bottom=["c"], top=["c"])
    assert freeze_layers(net, ["conv1", "bn1"]) == ["conv1_1", "conv1_2", "other", "bn1"]
    rates = {layer.name: [param.lr_mult for param in layer.param] for layer in net.layer}
    assert rates == {"conv1_1": [0, 0], "conv1_2": [0, 0], "conv10": [], "other": [0, 0],
                     "bn1": [0, 0, 0], "conv1_relu": [], "conv3": [], "scale": []}
    assert net.layer[4].batch_norm_param.use_global_stats
    assert freeze_layers(net, ["conv3"]) == ["conv3", "scale"]
    with pytest.raises(TrainingError, match="--freeze conv4: no layer .* conv1_1, conv1_2, conv10"):
        freeze_layers(net, ["conv4"])


def test_an_own_solver_and_net_are_not_rewritten(flags, weights, tmp_path):
    train, _, solver = generate("Mini", "mnc_5stage", tmp_path / "own", classes=6)
    before = train.read_text(), solver.read_text()
    wrapper = flags("--freeze", "conv1", "--clip", "35", "--weights", weights,
                    source=("--solver", str(solver)))
    assert (train.read_text(), solver.read_text()) == before
    assert wrapper.solver.param.clip_gradients == 35
    assert wrapper.solver.param.train_net == str(tmp_path / "out/train_frozen.prototxt")
    frozen = {layer.name for layer in read_net(wrapper.solver.param.train_net).layer
              if layer.param and not any(param.lr_mult for param in layer.param)}
    assert frozen == {"conv1_1", "bn1_1", "scale1_1"}


def test_the_flags_become_settings(flags, tmp_path):
    wrapper = flags("--ema", "0.99", "--precision", "bf16", "--clip", "10")
    assert (cfg.TRAIN.EMA, cfg.TRAIN.PRECISION, cfg.TEST.PRECISION) == (0.99, "bf16", "fp32")
    assert wrapper.solver.companions["average"].decay == 0.99
    assert read_solver(str(tmp_path / "out/net/solver.prototxt")).clip_gradients == 10
    assert any(layer.rounding for layer in wrapper.solver.net.layers)


@pytest.mark.parametrize("words, message", [
    (["--ema", "1"], "decay of an average of weights must be from 0 to below 1, got 1.0"),
    (["--clip", "0"], "--clip must be more than 0, got 0"),
    (["--freeze", "conv1"], "--freeze: without --weights these layers would keep random values"),
    (["--freeze", "convolution9", "--weights", "W"], "--freeze convolution9: no layer with weights "
                                                     "is called so; there are conv1_1, ")])
def test_flags_that_cannot_be(flags, weights, capsys, words, message):
    assert flags(*(weights if word == "W" else word for word in words)) is None
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("net, words, images, kept", [
    ("Lite0", {}, 16, 13), ("Lite0", {}, 100, 13), ("Lite0", {}, 101, 0), ("Mini", {}, 16, 0),
    ("Lite0", {"freeze": []}, 16, 0), ("Lite0", {"weights": None}, 16, 0)])
def test_of_few_images_slow_layers_keep_their_weights(tmp_path, net, words, images, kept):
    """Blocks 3 to 15 of Lite0 learn at a fifth of the rate, three layers each; what --freeze says,
    be it nothing, stays."""
    args = SimpleNamespace(**{"freeze": None, "weights": "some.caffemodel", **words})
    train, _, solver = generate(net, "mnc_5stage", tmp_path, layout=Layout("pyramid"))
    choose_frozen(args, solver, images)
    assert len(args.freeze or ()) == 3 * kept
    if kept:
        assert args.freeze[0] == "block3_expand" and args.freeze[-1] == "block15_project"
        frozen = set(freeze_layers(read_net(str(train)), args.freeze))
        assert frozen == set(args.freeze)


def test_no_name_freezes_nothing(flags):
    assert flags("--freeze", ",").solver.param.train_net.endswith("/net/train.prototxt")


def test_clipping_is_the_solvers():
    assert Schedule(10, clip=5.0).changes_solver
    assert Schedule(10, clip=5.0).over(read_solver_text()).clip_gradients == 5


def read_solver_text():
    return caffe.proto.caffe_pb2.SolverParameter(base_lr=0.1)
