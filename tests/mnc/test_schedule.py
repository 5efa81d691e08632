"""The length of a training and the rates over it: by flags, in generated solvers, over one's own."""

from __future__ import annotations

import pytest

from caffe.extend import read_solver
from mnc import cli
from mnc.commands import train
from mnc.nets import generate
from mnc.nets.fit import TrainingError
from mnc.training.loop import SolverWrapper
from mnc.training.schedule import Schedule, iterations_of, usual_iterations


@pytest.fixture
def rates(tmp_path, tiny_scenes, monkeypatch):
    """A function of the flags: (rates of iterations 0 .. end - 1, solver) of a training that is
    prepared whole and does not train."""
    def run(*words, source=("--net", "Mini")):
        seen = {}

        def train_model(wrapper, iterations, **about):
            solver = seen["solver"] = wrapper.solver
            for solver.iter in range(iterations):
                seen.setdefault("rates", []).append(solver.lr)
        monkeypatch.setattr(SolverWrapper, "train_model", train_model)
        assert cli.main(["train", "--cpu", *source, "--imdb", f"sbd:{tiny_scenes}:train", "--out",
                         str(tmp_path / "out"), "--no-fit", "--no-check-data", *words]) == 0
        return seen["rates"], seen["solver"]
    return run


def test_the_rate_of_a_generated_solver_falls_after_four_fifths(rates, tmp_path):
    found, _ = rates("--iters", "10")
    assert found == pytest.approx([7e-4] * 8 + [7e-5] * 2)
    written = read_solver(str(tmp_path / "out/net/solver.prototxt"))
    assert (written.stepsize, written.max_iter) == (8, 10)
    assert (tmp_path / "out/net/solver.prototxt").read_text().startswith("# Generated: ")


def test_epochs_rate_schedule_warm_up_and_batch(rates):
    found, solver = rates("--epochs", "4", "--lr", "0.002", "--schedule", "cosine", "--warmup", "1",
                          "--batch", "3")
    assert len(found) == 8 and solver.param.iter_size == 3          # 4 x 6 images, 3 an update
    assert found[:2] == pytest.approx([0.001, 0.002 * 0.96194], rel=1e-4)
    assert found[4] == pytest.approx(0.001) and found[7] == pytest.approx(0.002 * 0.03806, rel=1e-3)


def test_an_own_solver_keeps_its_own_and_its_file(rates, tmp_path):
    *_, path = generate("Mini", "mnc_5stage", tmp_path / "own", classes=6)
    before = path.read_text()
    own = ("--solver", str(path))
    found, solver = rates("--iters", "5", source=own)
    assert found == pytest.approx([7e-4] * 5) and solver.param.stepsize == 8000
    found, solver = rates("--iters", "4", "--schedule", "poly", source=own)
    assert found == pytest.approx([7e-4 * (1 - k / 4) ** 0.9 for k in range(4)])
    assert solver.param.iter_size == 1 and path.read_text() == before


def test_a_net_named_by_its_solver_alone_and_beside_it(tmp_path):
    *_, path = generate("Mini", "mnc_5stage", tmp_path / "own")
    path.write_text('net: "train.prototxt" base_lr: 0.1 lr_policy: "fixed" test_iter: 2')
    found = Schedule(10, lr=0.5).over_file(path)
    assert found.net == str(tmp_path / "own/train.prototxt") and not found.train_net
    assert found.snapshot_prefix == str(tmp_path / "own/solver") and found.test_iter == [2]
    assert (found.base_lr, found.lr_policy) == (0.5, "fixed")


def test_numbers_that_nothing_can_be_trained_with():
    for wrong in ({"lr": 0}, {"lr": float("nan")}, {"warmup": 11}, {"warmup": -1}):
        with pytest.raises(TrainingError, match=f"--{next(iter(wrong))} must be"):
            Schedule(10, **wrong)
    with pytest.raises(TrainingError, match="--epochs must be more than 0, got -1"):
        iterations_of(-1, 6, 2)
    assert iterations_of(0.5, 7, 2) == 2


def test_iterations_or_epochs_not_both(capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "--iters", "3", "--epochs", "2"])
    assert "not allowed with" in capsys.readouterr().err and train.count("3") == 3


@pytest.mark.parametrize("images, batch, iterations", [
    (40, 1, 1550), (358, 1, 1550), (1000, 1, 3000), (1000, 8, 1550), (10 ** 6, 8, 40000)])
def test_the_usual_length_is_three_passes_within_limits(images, batch, iterations):
    assert usual_iterations(images, batch) == iterations


def test_the_usual_rates():
    schedule = Schedule.usual(1000, 0.0007, 2)
    assert schedule == Schedule(1000, 0.0012, "cosine", 50, 2)
