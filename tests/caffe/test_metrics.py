"""Rows of figures of a training: what is in them, where they go, and that they cost nothing."""

from __future__ import annotations

import sys

import pytest

import caffe
from caffe.cli import main
from caffe.engine.solving.metrics import JsonLines, Metrics, TensorBoard, read_rows, scalars

NET = """
layer { name: "x" type: "DummyData" top: "x" top: "y" dummy_data_param {
  shape { dim: 4 dim: 3 } shape { dim: 4 dim: 2 }
  data_filler { type: "gaussian" } data_filler { type: "constant" value: 1 } } }
layer { name: "fc" type: "InnerProduct" bottom: "x" top: "fc" inner_product_param {
  num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "distance" type: "EuclideanLoss" bottom: "fc" bottom: "y" top: "distance"
        loss_weight: 2 }
"""
SOLVER = """net: "net.prototxt" base_lr: 0.05 lr_policy: "step" stepsize: 4 gamma: 0.1 display: 2
max_iter: 6 test_iter: 2 test_interval: 3 random_seed: 4 snapshot_prefix: "out/run" """


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(*flags):
    return main(["train", "--solver", "solver.prototxt", "--cpu", *flags])


def of(kind, path="out/run_metrics.jsonl"):
    return [row for row in read_rows(path) if kind in row]


def test_caffe_train_writes_its_figures_when_asked(folder):
    assert train() == 0
    assert not (folder / "out/run_metrics.jsonl").exists()
    assert train("--metrics") == 0
    losses = of("losses")
    assert [row["iteration"] for row in losses] == [2, 4, 6]
    assert [row["lr"] for row in losses] == [0.05, 0.05, 0.005]
    for row in losses:
        assert row["loss"] == pytest.approx(2 * row["losses"]["distance"], rel=1e-4)
        assert row["seconds"] >= 0 and row["seconds_per_iteration"] > 0
    assert losses[-1]["eta"] == 0
    assert [(row["iteration"], set(row["test"])) for row in of("test")] == [
        (0, {"distance"}), (3, {"distance"}), (6, {"distance"})]
    assert of("run")[0]["run"]["iterations"] == 6 and of("end")[-1]["end"] == "Optimization Done."


def test_the_rows_of_a_training_that_was_broken_off_are_those_of_one_that_was_not(folder):
    """Iteration 3 lies between two rows."""
    assert train("--metrics") == 0
    whole = [(row["iteration"], row["loss"], row["losses"]) for row in of("losses")]
    text = (folder / "solver.prototxt").read_text()
    (folder / "solver.prototxt").write_text(text.replace("out/run", "out/two")
                                            .replace("max_iter: 6", "max_iter: 3"))
    assert train("--metrics") == 0
    seconds = of("losses", "out/two_metrics.jsonl")[-1]["seconds"]
    (folder / "solver.prototxt").write_text(text.replace("out/run", "out/two"))
    assert train("--metrics", "--snapshot", "auto") == 0
    rows = of("losses", "out/two_metrics.jsonl")
    assert [(row["iteration"], row["loss"], row["losses"]) for row in rows] == whole
    assert rows[-1]["seconds"] >= seconds


def test_a_place_that_fails_costs_a_warning_and_nothing_else(folder, capsys):
    class Full:
        ended = 0

        def __str__(self):
            return "a full disk"

        def begin(self, iteration):
            pass

        def write(self, row):
            raise OSError("no space")

        def end(self):
            self.ended += 1

    solver = caffe.get_solver("solver.prototxt")
    full = Full()
    metrics = Metrics(solver, "metrics.jsonl", [full])
    with metrics.running():
        solver.step(4)
    assert capsys.readouterr().err.count("a full disk: no metrics go there from iteration 0") == 1
    assert full.ended == 1 and len(of("losses", "metrics.jsonl")) == 2


def test_what_is_not_finite_is_null(folder):
    solver = caffe.get_solver("solver.prototxt")
    metrics = Metrics(solver, "metrics.jsonl")
    with pytest.raises(KeyError, match="of the user"), metrics.running():
        solver.net.params["fc"][0].data[...] = float("nan")
        solver.step(2)
        raise KeyError("of the user")
    row = of("losses", "metrics.jsonl")[0]
    assert row["loss"] is None and row["losses"] == {"distance": None}
    assert "of the user" in of("end", "metrics.jsonl")[0]["end"]


def test_rows_that_were_cut_are_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"iteration": 1, "seconds": 5}\n{"iteration": 2}\n7\n\xff\n'
                     b'{"iteration": 9}\n{"iteration": 3')
    lines = JsonLines(path)
    lines.begin(2)
    lines.write({"iteration": 3, "end": "x"})
    lines.end()
    assert [row["iteration"] for row in read_rows(path)] == [1, 2, 3] and lines.seconds == 5
    lines.begin(0)
    lines.end()
    assert path.read_text() == ""


def test_scalars_of_a_row():
    assert scalars({"iteration": 3, "loss": None, "lr": 0.1, "losses": {"a": 1.0, "b": None}}) == {
        "losses/a": 1.0, "lr": 0.1}
    assert scalars({"test": {"accuracy": 0.5}, "net": 1}) == {"test1/accuracy": 0.5}


def test_tensorboard(folder):
    pytest.importorskip("tensorboard")
    assert train("--tensorboard") == 0
    assert list((folder / "out/run_tensorboard").glob("events.*"))
    assert of("losses")


def test_tensorboard_that_is_not_there_is_said_before_training(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ImportError, match="--tensorboard needs tensorboard"):
        TensorBoard(tmp_path)


def test_weights_it_begins_with_are_not_written_over(folder, capsys):
    assert train() == 0
    before = (folder / "out/run_iter_6.caffemodel").read_bytes()
    assert train("--weights", "out/run_iter_6.caffemodel") == 1
    said = capsys.readouterr().err
    assert "iteration 6 of this training would be written over these initial weights" in said
    assert (folder / "out/run_iter_6.caffemodel").read_bytes() == before
    (folder / "out/run_iter_6.caffemodel").rename(folder / "out/start.caffemodel")
    assert train("--weights", "out/start.caffemodel") == 0
