"""Several workers that train one net: what they compute is what one worker computes."""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format

import caffe
from caffe.engine import log
from caffe.engine.net.net import Net
from caffe.engine.parallel.team import together
from caffe.engine.solving.workers import Sharing

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from workers import run_workers

lmdb = pytest.importorskip("lmdb")

LENET = """
layer { name: "digits" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { scale: 0.00390625 } data_param { source: "lmdb" batch_size: 4 backend: LMDB } }
layer { name: "digits" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { scale: 0.00390625 } data_param { source: "lmdb" batch_size: 3 backend: LMDB } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" param { lr_mult: 1 } param { lr_mult: 2 }
  convolution_param { num_output: 20 kernel_size: 5 weight_filler { type: "xavier" } } }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "conv2" type: "Convolution" bottom: "pool1" top: "conv2" param { lr_mult: 1 } param { lr_mult: 2 }
  convolution_param { num_output: 50 kernel_size: 5 weight_filler { type: "xavier" } } }
layer { name: "pool2" type: "Pooling" bottom: "conv2" top: "pool2" pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "ip1" type: "InnerProduct" bottom: "pool2" top: "ip1" param { lr_mult: 1 } param { lr_mult: 2 }
  inner_product_param { num_output: 500 weight_filler { type: "xavier" } } }
layer { name: "relu1" type: "ReLU" bottom: "ip1" top: "ip1" }
layer { name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2" param { lr_mult: 1 } param { lr_mult: 2 }
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "accuracy" type: "Accuracy" bottom: "ip2" bottom: "label" top: "accuracy" include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }
"""
SOLVER = """net: "net.prototxt" base_lr: 0.01 momentum: 0.9 weight_decay: 0.0005 lr_policy: "inv"
gamma: 0.0001 power: 0.75 test_iter: 5 test_interval: 3 test_initialization: false max_iter: 6
snapshot_prefix: "s" display: 2 random_seed: 5 """


def write_lenet(folder: Path) -> None:
    """27 digits of noise, a solver and its net."""
    random = np.random.default_rng(1)
    with lmdb.open(str(folder / "lmdb"), map_size=1 << 22) as env, env.begin(write=True) as txn:
        for k in range(27):
            datum = caffe.io.array_to_datum(random.integers(0, 255, (1, 28, 28), np.uint8), k % 10)
            txn.put(b"%08d" % k, datum.SerializeToString())
    (folder / "net.prototxt").write_text(LENET)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("lenet")
    write_lenet(place)
    return place


def monkeypatch_log(values: list[float]) -> None:
    """Collects the outputs of tests."""
    def output(record):
        if record.msg == log.TEST_OUTPUT:
            values.append(float(record.args[2]))
        return True
    logging.getLogger("caffe").addFilter(output)


def trained(folder: Path, options: str, iterations: int = 6, *, dtype: str = "float64",
            sharing: Sharing | None = None) -> dict[str, np.ndarray]:
    """Losses, weights and the last test of a solver, alone or as one of the workers."""
    os.chdir(folder)
    make = Net.from_proto
    Net.from_proto = classmethod(lambda cls, *a: make(*a, dtype=dtype))     # type: ignore
    try:
        with together() as team:
            Path(f"solver{team.rank}.prototxt").write_text(SOLVER + options)
            solver = caffe.get_solver(f"solver{team.rank}.prototxt")
            solver.join(team, sharing or Sharing())
            losses, tests = [], []
            monkeypatch_log(tests)
            solver.add_callback(lambda: None, lambda: losses.append(solver._smoothed.losses[-1]))
            solver.step(iterations)
            return {"losses": np.array(losses), "tests": np.array(tests),
                    **{f"{name}/{i}": blob.data.copy() for name, blobs in solver.net.params.items()
                       for i, blob in enumerate(blobs)}}
    finally:
        Net.from_proto = make


NORMALIZED = """
layer { name: "digits" type: "Data" top: "data" top: "label"
  transform_param { scale: 0.00390625 } data_param { source: "lmdb" batch_size: %d backend: LMDB } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 7 stride: 4 bias_term: false weight_filler { type: "xavier" } } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "bn" }
layer { name: "bn2" type: "BN" bottom: "bn" top: "bn2" bn_param { slope_filler { type: "constant" value: 1.5 } } }
layer { name: "ip" type: "InnerProduct" bottom: "bn2" top: "ip"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


def normalized(folder: Path, batch: int) -> dict[str, np.ndarray]:
    os.chdir(folder)
    make = Net.from_proto
    Net.from_proto = classmethod(lambda cls, *a: make(*a, dtype="float64"))     # type: ignore
    param = text_format.Parse('base_lr: 0.01 lr_policy: "fixed" random_seed: 5',
                              caffe.proto.caffe_pb2.SolverParameter())
    text_format.Parse(NORMALIZED % batch, param.net_param)
    with together() as team:
        solver = caffe.get_solver(param)
        solver.join(team, Sharing(sync_bn=True))
        solver.step(3)
        return {f"{name}/{i}": blob.data.copy() for name, blobs in solver.net.params.items()
                for i, blob in enumerate(blobs)}


def test_statistics_of_all_workers_are_those_of_one_larger_batch(folder):
    alone, = run_workers(1, normalized, folder, 8)
    for each in run_workers(2, normalized, folder, 4):
        assert_close(alone, each)


def assert_close(one, other, tolerance=1e-6):
    for name in one:
        scale = max(np.abs(one[name]).max(), 1e-6)      # what is 0 but for rounding is equal
        assert np.abs(one[name] - other[name]).max() <= tolerance * scale, name


def test_workers_of_lenet_train_as_one_with_their_passes(folder):
    """1 worker with iter_size 4, 2 with 2, 4 with 1: losses, weights, accuracy of a test."""
    alone, = run_workers(1, trained, folder, "iter_size: 4")
    two = run_workers(2, trained, folder, "iter_size: 2")
    four = run_workers(4, trained, folder, "iter_size: 1")
    assert len(alone["losses"]) == 6 and alone["losses"].std() > 0.01
    for first, *others in (two, four):
        assert_close(alone, first)
        assert len(first.pop("tests")) == 2         # of accuracy and loss, in worker 0's log
        for each in others:
            assert each.pop("tests").size == 0
            for name in first:
                np.testing.assert_array_equal(first[name], each[name])


def drawn(folder: Path) -> list[bytes]:
    """The images that a worker sees in 9 updates of 3, where nobody has given a seed."""
    os.chdir(folder)
    net = LENET.replace("batch_size: 4 backend: LMDB", "batch_size: 3 backend: LMDB shuffle: true")
    param = text_format.Parse('base_lr: 0 lr_policy: "fixed"', caffe.proto.caffe_pb2.SolverParameter())
    text_format.Parse(net, param.net_param)
    with together() as team:
        solver = caffe.get_solver(param)
        solver.join(team)
        seen = []
        solver.add_callback(lambda: None, lambda: seen.extend(
            image.tobytes() for image in solver.net.blobs["data"].data))
        solver.step(9)
    return seen


def test_workers_share_a_shuffled_order_without_a_seed(folder):
    """Two passes over 27 images, which two workers of 3 images cannot divide evenly."""
    one, two = run_workers(2, drawn, folder)
    assert len(one) == len(two) == 27
    times = Counter([*one, *two])
    assert len(times) == 27 and set(times.values()) == {2}
