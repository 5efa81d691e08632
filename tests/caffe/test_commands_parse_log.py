"""parse_log and plot_training_log: our own log, and what a real one may hold."""

from __future__ import annotations

import csv
import math
import os
from pathlib import Path

import pytest

import caffe
from caffe import cli
from caffe.commands import parse_log, plot_training_log
from caffe.engine import log

NET = """
name: "tiny"
layer { name: "data" type: "Input" top: "data" top: "label"
  input_param { shape { dim: 3 dim: 5 } shape { dim: 3 dim: 2 } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 2 bias_filler { type: "constant" value: 1 } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "label" top: "loss" }
layer { name: "size" type: "Reduction" bottom: "ip" top: "accuracy"
  include { phase: TEST } reduction_param { operation: ASUM } }
"""
SOLVER = """
net: "net.prototxt" test_iter: 2 test_interval: 4 base_lr: 0.25 lr_policy: "step" gamma: 0.5
stepsize: 4 display: 2 max_iter: 8 snapshot_prefix: "tiny"
"""
REAL = """\
I1231 23:59:58.500000  4711 caffe.cpp:251] Starting Optimization
I1231 23:59:59.000000  4711 solver.cpp:279] Solving LeNet
I1231 23:59:59.000100  4711 solver.cpp:280] Learning Rate Policy: inv
I1231 23:59:59.250000  4711 solver.cpp:337] Iteration 0, Testing net (#0)
I1231 23:59:59.500000  4711 solver.cpp:404]     Test net output #0: accuracy = 0.125
I1231 23:59:59.500000  4711 solver.cpp:404]     Test net output #1: loss = 2.5 (* 1 = 2.5 loss)
I1231 23:59:59.750000  4711 solver.cpp:228] Iteration 0, loss = 2.25
I1231 23:59:59.750000  4711 solver.cpp:244]     Train net output #0: loss = 2.25 (* 1 = 2.25 loss)
I1231 23:59:59.800000  4711 sgd_solver.cpp:106] Iteration 0, lr = 0.01
no line of glog's
I0101 00:00:01.000000  4711 solver.cpp:228] Iteration 100 (33.3 iter/s, 3s/100 iters), loss = 1e-05
I0101 00:00:01.000000  4711 solver.cpp:244]     Train net output #0: loss = 1e-05 (* 1 = 1e-05 loss)
I0101 00:00:01.100000  4711 sgd_solver.cpp:106] Iteration 100, lr = 0.005
I0101 00:00:02.000000  4711 solver.cpp:337] Iteration 100, Testing net (#0)
I0101 00:00:02.500000  4711 solver.cpp:404]     Test net output #0: accuracy = 0.75
I0101 00:00:02.500000  4711 solver.cpp:404]     Test net output #1: loss = nan (* 1 = nan loss)
"""


@pytest.fixture
def real_log(tmp_path) -> Path:
    path = tmp_path / "real.log"
    path.write_text(REAL)
    return path


@pytest.fixture
def own_log(tmp_path, monkeypatch, capsys) -> Path:
    """The log of `caffe train` on a tiny net."""
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET)
    Path("solver.prototxt").write_text(SOLVER)
    assert cli.main(["train", "--solver=solver.prototxt"]) == 0
    log.configure()
    path = tmp_path / "own.log"
    path.write_text(capsys.readouterr().err)
    return path


def table(path: Path, delimiter: str = ",") -> list[dict[str, float]]:
    with open(path, newline="") as file:
        return [{key: float(value) for key, value in row.items()}
                for row in csv.DictReader(file, delimiter=delimiter)]


def test_rows_of_a_real_log(real_log):
    train, test = parse_log.parse_log(real_log)
    assert train == [
        {"NumIters": 0, "Seconds": 0.75, "LearningRate": 0.01, "loss": 2.25},
        {"NumIters": 100, "Seconds": 2, "LearningRate": 0.01, "loss": 1e-05}]
    assert [row["accuracy"] for row in test] == [0.125, 0.75]
    assert [row["Seconds"] for row in test] == [0.5, 3.5]
    assert [row["LearningRate"] for row in test] == [0.005, 0.005]
    assert test[0]["loss"] == 2.5 and math.isnan(test[1]["loss"])


def test_tables_of_our_own_log(own_log, tmp_path):
    assert parse_log.main([str(own_log), str(tmp_path)]) == 0
    train, test = table(tmp_path / "own.log.train"), table(tmp_path / "own.log.test")
    assert [row["NumIters"] for row in train] == [0, 2, 4, 6]
    assert [row["LearningRate"] for row in train] == [0.25, 0.25, 0.25, 0.125]
    assert [row["NumIters"] for row in test] == [0, 4, 8]
    assert list(test[0]) == ["NumIters", "Seconds", "LearningRate", "accuracy", "loss"]
    assert train[0]["loss"] == 1 and test[0]["accuracy"] == 6
    losses = [row["loss"] for row in test]
    assert losses == sorted(losses, reverse=True) and losses[-1] < 0.2
    seconds = [row["Seconds"] for row in train]
    assert seconds == sorted(seconds) and seconds[0] >= 0


def test_delimiter_and_verbose(real_log, tmp_path, capsys):
    assert parse_log.main([str(real_log), str(tmp_path), "--delimiter", "|", "--verbose"]) == 0
    assert table(tmp_path / "real.log.train", "|")[1]["NumIters"] == 100
    assert str(tmp_path / "real.log.test") in capsys.readouterr().out


def test_two_test_nets_have_rows_of_their_own(tmp_path):
    path = tmp_path / "two.log"
    path.write_text(REAL + "".join(
        f"I0101 00:00:0{second}.000000  4711 solver.cpp:404]     Test net output #0: accuracy = 1\n"
        for second in (3, 4)))
    assert [row["NumIters"] for row in parse_log.parse_log(path)[1]] == [0, 100, 100, 100]


def test_a_log_of_something_else(tmp_path, capsys):
    path = tmp_path / "other.log"
    path.write_text("nothing\n")
    assert parse_log.main([str(path), str(tmp_path)]) == 1
    assert 'no line with a time and "Solving"' in capsys.readouterr().err
    assert parse_log.main([str(tmp_path / "nowhere"), str(tmp_path)]) == 1


def rows(path: Path, content: str | bytes) -> tuple[list, list]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return parse_log.parse_log(path)


YEARS = REAL.replace("I1231", "I20211231").replace("I0101", "I20220101")
STEPS = "".join(line + "speed: 0.2s / iter\n" for line in REAL.splitlines(True)[6:])
LEAP = REAL.replace("I1231", "I0229").replace("I0101", "I0301")


@pytest.mark.parametrize("content", [
    YEARS, "\x1b[32m" + REAL.replace("\nI", "\n\x1b[32mI"), REAL.replace("\n", "\r\n"),
    "".join(f"[1,0]<stderr>:{line}" for line in REAL.splitlines(True)), REAL.encode("utf-16"), LEAP],
    ids=["glog 0.6", "colours", "crlf", "rank", "utf-16", "29 February"])
def test_logs_of_other_programs_say_the_same(content, real_log, tmp_path):
    assert str(rows(tmp_path / "other.log", content)) == str(parse_log.parse_log(real_log))


def test_a_log_of_solver_step_begins_with_its_first_iteration(real_log, tmp_path):
    """No line "Solving": the loops of MNC, py-faster-rcnn and `mnc train` call solver.step."""
    train, test = rows(tmp_path / "steps.log", STEPS)
    assert [row["loss"] for row in train] == [2.25, 1e-05]
    assert [row["Seconds"] for row in train] == [0, 1.25]
    assert [row["accuracy"] for row in test] == [0.75]
    path = str(tmp_path / "steps.log")
    assert plot_training_log.curve(path, "Train loss", "Seconds") == [(0, 2.25), (1.25, 1e-05)]


def test_names_of_outputs_may_have_blanks(tmp_path):
    test = rows(tmp_path / "x.log", REAL.replace("accuracy", "top 5 accuracy"))[1]
    assert [row["top 5 accuracy"] for row in test] == [0.125, 0.75]


def test_the_log_of_a_loop_of_ours_has_rows(own_log, tmp_path, capsys):
    """As `mnc train` is one."""
    solver = caffe.SGDSolver("solver.prototxt")
    for _ in range(3):
        solver.step(1)
    train, test = rows(tmp_path / "loop.log", capsys.readouterr().err)
    assert [row["NumIters"] for row in train] == [0, 2] and [row["NumIters"] for row in test] == [0]


@pytest.mark.parametrize("name", ["x.xyz", "x"])
def test_a_picture_of_an_unknown_kind(name, real_log, tmp_path, capsys):
    assert plot_training_log.main(["6", str(tmp_path / name), str(real_log)]) == 1
    assert f"{name}: pictures end in " in capsys.readouterr().err


@pytest.mark.parametrize("chart, points", [
    (0, [(0, 0.125), (100, 0.75)]), (1, [(0.5, 0.125), (3.5, 0.75)]),
    (4, [(0, 0.01), (100, 0.005)]), (5, [(0.8, 0.01), (2.1, 0.005)]),
    (6, [(0, 2.25), (100, 1e-05)]), (7, [(0.75, 2.25), (2, 1e-05)])])
def test_curves(chart, points, real_log):
    found = plot_training_log.curve(str(real_log), *plot_training_log.CHARTS[chart])
    assert found == [pytest.approx(point) for point in points]


def test_charts_are_numbered_as_in_caffe():
    assert [f"{value} vs. {axis}" for value, axis in plot_training_log.CHARTS] == [
        "Test accuracy vs. Iters", "Test accuracy vs. Seconds", "Test loss vs. Iters",
        "Test loss vs. Seconds", "Train learning rate vs. Iters",
        "Train learning rate vs. Seconds", "Train loss vs. Iters", "Train loss vs. Seconds"]


def test_pictures_are_drawn(real_log, own_log, tmp_path):
    picture = tmp_path / "loss.png"
    assert plot_training_log.main(["2", str(picture), str(real_log), str(own_log)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_log_without_the_output(tmp_path, real_log, capsys):
    path = tmp_path / "other.log"
    path.write_text(real_log.read_text().replace("accuracy", "score"))
    assert plot_training_log.main(["0", str(tmp_path / "x.png"), str(path)]) == 1
    assert "the log has score, loss" in capsys.readouterr().err
    assert not os.path.exists(tmp_path / "x.png")
