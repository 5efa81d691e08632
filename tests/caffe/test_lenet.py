"""LeNet from images to accuracy by commands alone: convert_imageset, caffe train, parse_log, caffe test."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

import caffe
from caffe import cli
from caffe.commands import convert_imageset, parse_log
from caffe.engine import log

pytest.importorskip("lmdb")

DATA = """
layer { name: "digits" type: "Data" top: "data" top: "label" include { phase: %s }
  transform_param { scale: 0.00390625 } data_param { source: "%s" batch_size: %d backend: LMDB } }
"""
NET = 'name: "LeNet"' + DATA % ("TRAIN", "train_lmdb", 32) + DATA % ("TEST", "test_lmdb", 50) + """
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" param { lr_mult: 1 } param { lr_mult: 2 }
  convolution_param { num_output: 20 kernel_size: 5 weight_filler { type: "xavier" } } }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "conv2" type: "Convolution" bottom: "pool1" top: "conv2" param { lr_mult: 1 } param { lr_mult: 2 }
  convolution_param { num_output: 50 kernel_size: 5 weight_filler { type: "xavier" } } }
layer { name: "pool2" type: "Pooling" bottom: "conv2" top: "pool2"
  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "ip1" type: "InnerProduct" bottom: "pool2" top: "ip1" param { lr_mult: 1 } param { lr_mult: 2 }
  inner_product_param { num_output: 500 weight_filler { type: "xavier" } } }
layer { name: "relu1" type: "ReLU" bottom: "ip1" top: "ip1" }
layer { name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2" param { lr_mult: 1 } param { lr_mult: 2 }
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "accuracy" type: "Accuracy" bottom: "ip2" bottom: "label" top: "accuracy"
  include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }
"""
SOLVER = """
net: "lenet.prototxt" test_iter: 4 test_interval: 40 base_lr: 0.01 momentum: 0.9
weight_decay: 0.0005 lr_policy: "inv" gamma: 0.0001 power: 0.75 display: 20 max_iter: 160
snapshot: 70 snapshot_prefix: "lenet" solver_mode: CPU random_seed: 5
"""


def draw_digits(folder: str, count: int, random: np.random.Generator) -> None:
    """`count` images (28, 28) of digits somewhat moved and thinned, with noise; and FOLDER.txt."""
    Path(folder).mkdir()
    lines = []
    for i in range(count):
        image = np.zeros((28, 28), np.uint8)
        x, y = random.integers(3, 10), random.integers(20, 26)
        cv2.putText(image, str(i % 10), (int(x), int(y)), cv2.FONT_HERSHEY_SIMPLEX,
                    random.uniform(0.6, 0.8), int(random.integers(160, 256)), 2)
        noisy = image + random.normal(0, 12, image.shape)
        cv2.imwrite(f"{folder}/{i}.png", np.clip(noisy, 0, 255).astype(np.uint8))
        lines.append(f"{i}.png {i % 10}\n")
    Path(f"{folder}.txt").write_text("".join(lines))


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """The folder of a training that went through: databases, snapshots, lenet.log."""
    folder = tmp_path_factory.mktemp("lenet")
    random = np.random.default_rng(7)
    caffe.set_random_seed(7)            # for --shuffle
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, count in (("train", 1000), ("test", 200)):
            draw_digits(name, count, random)
            assert convert_imageset.main(["--gray", "--shuffle", f"{name}/", f"{name}.txt",
                                          f"{name}_lmdb"]) == 0
        Path("lenet.prototxt").write_text(NET)
        Path("solver.prototxt").write_text(SOLVER)
        patch.setattr("sys.argv", ["caffe"])
        assert cli.main(["train", "--solver=solver.prototxt", "--log_dir=logs"]) == 0
        log.configure()
    return folder


@pytest.fixture(autouse=True)
def folder(trained, monkeypatch) -> Path:
    monkeypatch.chdir(trained)
    return trained


def test_accuracy_in_the_log_as_parse_log_reads_it(tmp_path):
    assert parse_log.main(["logs/caffe.INFO", str(tmp_path)]) == 0
    with open(tmp_path / "caffe.INFO.test", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["NumIters"]) for row in rows] == [0, 40, 80, 120, 160]
    assert float(rows[0]["accuracy"]) < 0.5 and float(rows[-1]["accuracy"]) > 0.95
    with open(tmp_path / "caffe.INFO.train", newline="") as file:
        assert [float(row["NumIters"]) for row in csv.DictReader(file)] == list(range(0, 160, 20))


def test_snapshots_score_the_same_by_caffe_test(capsys):
    assert cli.main(["test", "--model=lenet.prototxt", "--weights=lenet_iter_160.caffemodel",
                     "--iterations=4"]) == 0
    last = {line.split("] ")[1].split(" = ")[0]: float(line.split(" = ")[1].split()[0])
            for line in capsys.readouterr().err.splitlines()[-2:]}
    log.configure()
    logged = [float(row["accuracy"]) for row in parse_log.parse_log("logs/caffe.INFO")[1]]
    assert last["accuracy"] == pytest.approx(logged[-1]) and last["accuracy"] > 0.95


def test_resuming_gives_the_same_weights_bit_for_bit(tmp_path):
    """From iteration 70, in the middle of the data and between two tests."""
    solver = Path("solver.prototxt").read_text()
    Path("again.prototxt").write_text(solver.replace('"lenet"', f'"{tmp_path}/again"'))
    assert cli.main(["train", "--solver=again.prototxt",
                     "--snapshot=lenet_iter_70.solverstate"]) == 0
    straight, resumed = (caffe.Net("lenet.prototxt", caffe.TEST, weights=weights).params
                         for weights in ("lenet_iter_160.caffemodel",
                                         f"{tmp_path}/again_iter_160.caffemodel"))
    for name in straight:
        for a, b in zip(straight[name], resumed[name]):
            assert a.data.tobytes() == b.data.tobytes(), name
