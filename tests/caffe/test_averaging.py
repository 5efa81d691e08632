"""The moving average of the weights: its values, in snapshots, in tests, resumed."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
from google.protobuf import text_format

from caffe import cli
from caffe.commands.registration import UsageError
from caffe.engine.errors import CaffeError, WeightsError
from caffe.engine.solving.averaging import WeightAverage
from caffe.engine.solving.update_rules import get_solver
from caffe.proto import caffe_pb2

NET = """
layer { name: "in" type: "DummyData" top: "x" top: "t"
        dummy_data_param { shape { dim: 4 dim: 3 } shape { dim: 4 dim: 2 }
                           data_filler { type: "gaussian" } } }
layer { name: "norm" type: "BatchNorm" bottom: "x" top: "n" }
layer { name: "fc" type: "InnerProduct" bottom: "n" top: "y"
        inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }
"""


def solver(folder, decay=0.5, text=""):
    param = text_format.Parse('base_lr: 0.1 lr_policy: "fixed" momentum: 0.9 random_seed: 7 '
                              f'snapshot_format: HDF5 snapshot_prefix: "{folder}/a" {text}',
                              caffe_pb2.SolverParameter())
    text_format.Parse(NET, param.net_param)
    found = get_solver(param)
    return found, WeightAverage(found, decay) if decay is not None else None


def weights(net):
    return [blob.tensor.clone().numpy() for blob in net.learnable_params]


def average(solver):
    with solver.export(solver.net):
        return weights(solver.net)


def assert_equal(first, second):
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_values_of_the_definition(tmp_path):
    trained, _ = solver(tmp_path, 0.3)
    want = [value.astype(float) for value in weights(trained.net)]
    for n in range(1, 7):
        trained.step(1)
        decay = min(0.3, (1 + n) / (10 + n))
        want = [decay * a + (1 - decay) * w for a, w in zip(want, weights(trained.net))]
        before = weights(trained.net)
        for a, b in zip(average(trained), want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
        assert_equal(weights(trained.net), before)
    assert decay == 0.3
    assert any((a != w).any() for a, w in zip(average(trained), weights(trained.net)))


def test_training_is_as_without(tmp_path):
    found = []
    for decay in (0.9, None):
        trained, _ = solver(tmp_path, decay)
        trained.step(4)
        found.append(weights(trained.net))
    assert_equal(*found)


def test_snapshots_hold_it_and_resuming_is_exact(tmp_path):
    whole, _ = solver(tmp_path / "whole")
    whole.step(5)
    first, _ = solver(tmp_path / "parts")
    first.step(2)
    path = first.snapshot()
    with h5py.File(path) as file:
        assert_equal([file["data/fc/0"][()]], [average(first)[3]])
    second, kept = solver(tmp_path / "parts")
    second.restore(str(tmp_path / "parts/a_iter_2.solverstate.h5"))
    assert_equal(weights(second.net), weights(first.net))
    assert kept.updates == 2
    second.step(3)
    assert_equal(weights(second.net), weights(whole.net))
    assert_equal(average(second), average(whole))
    assert json.loads(kept.snapshot_state().partition(b"\n")[0])["updates"] == 5


def test_it_can_be_taken_up_and_left_out(tmp_path):
    plain, _ = solver(tmp_path, None)
    plain.step(2)
    plain.snapshot()
    later, kept = solver(tmp_path)
    later.restore(str(tmp_path / "a_iter_2.solverstate.h5"))
    assert_equal(average(later), weights(plain.net))        # begins with what was resumed from
    later.step(1)
    later.snapshot()
    assert kept.updates == 1
    without, _ = solver(tmp_path, None)
    without.restore(str(tmp_path / "a_iter_3.solverstate.h5"))
    assert_equal(weights(without.net), weights(later.net))  # not the average


def test_test_nets_see_it(tmp_path, monkeypatch):
    text = "test_iter: 1 test_initialization: false test_interval: "
    trained, _ = solver(tmp_path, 0.9, text + "2")
    seen = []
    monkeypatch.setattr(type(trained), "test", lambda self, index: seen.append(weights(self.net)))
    trained.step(3)
    monkeypatch.undo()
    again, _ = solver(tmp_path, 0.9, text + "9")
    again.step(2)
    assert_equal(seen[0], average(again))


def test_what_is_refused(tmp_path):
    for decay in (1.0, -0.1, float("nan")):
        with pytest.raises(CaffeError, match="from 0 to below 1, got"):
            solver(tmp_path, decay)
    _, kept = solver(tmp_path)
    with pytest.raises(WeightsError, match="of another net"):
        kept.restore_state(kept.snapshot_state()[:-1])
    for flags, message in ((["--ema", "1"], "--ema takes a number from 0 to below 1, got 1"),
                           (["--precision", "fp16"], "--precision takes fp32 or bf16; got 'fp16'")):
        with pytest.raises(UsageError, match=message):
            cli.main.__wrapped__(["train", "--solver", "any", *flags])


def test_the_flags_of_caffe_train(tmp_path):
    text = ('base_lr: 0.1 lr_policy: "fixed" random_seed: 7 max_iter: 3 snapshot_format: HDF5 '
            f'snapshot_prefix: "{tmp_path}/b" net_param {{ {NET} }}')
    (tmp_path / "solver.prototxt").write_text(text)
    contents = {}
    for name, flags in (("plain", []), ("ema", ["--ema", "0.9"]), ("bf16", ["--precision", "bf16"])):
        assert cli.main(["train", "--solver", str(tmp_path / "solver.prototxt"), *flags]) == 0
        with h5py.File(tmp_path / "b_iter_3.caffemodel.h5") as file:
            contents[name] = file["data/fc/0"][()]
    assert (contents["ema"] != contents["plain"]).any()
    assert (contents["bf16"] != contents["plain"]).any()
    np.testing.assert_allclose(contents["bf16"], contents["plain"], atol=0.02)
