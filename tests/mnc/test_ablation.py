"""`mnc ablation`: runs as files, resumed run by run, and the tables made of them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from conftest import ROOT
from mnc import cli
from mnc.commands import ablation_runs
from mnc.commands import ablation_table as ablation
from mnc.schemes import SCHEMES

TASKS = ("mnc_separate", "mnc_3stage", "mnc_5stage", "mnc_5stage_paper")


@pytest.fixture(scope="module")
def models(tiny_net, tmp_path_factory):
    """The tiny nets of every task in one folder, solvers naming them there."""
    folder = tmp_path_factory.mktemp("models")
    for task in TASKS:
        tiny_net(task).rename(folder / task)
    return folder


@pytest.fixture
def arguments(models, tiny_scenes, tmp_path):
    return ["--models", str(models), "--imdb", f"sbd:{tiny_scenes}:train", "--test-imdb",
            f"sbd:{tiny_scenes}:val", "--results", str(tmp_path / "results"), "--out",
            str(tmp_path / "out"), "--docs", str(tmp_path / "page.md")]


QUICK = ["--set", "TRAIN.RPN_POST_NMS_TOP_N", "12", "TEST.RPN_POST_NMS_TOP_N", "8"]


@pytest.fixture
def run(arguments):
    def run(*more):
        return cli.main(["ablation", "--cpu", *arguments, *more, *QUICK])
    return run


@pytest.mark.parametrize("scheme, iterations", [("a", 3), ("b", 6), ("c", 1), ("d", 1),
                                                ("paper", 1)])
def test_a_run_is_a_file(run, tmp_path, scheme, iterations):
    assert run("--schemes", scheme, "--seeds", "5", "--iters", str(iterations)) == 0
    path, = (tmp_path / "results").iterdir()
    assert path.name == f"Mini_{scheme}_seed5.json"
    found = json.loads(path.read_text())
    assert (found["scheme"], found["seed"], found["iterations"]) == (scheme, 5, iterations)
    assert 0 <= found["mAP^r@0.7"] <= found["mAP^r@0.5"] <= 1
    assert found["train_seconds"] > 0 and found["test_seconds"] > 0
    assert re.fullmatch("[0-9a-f]{64}", found["settings_sha256"])
    steps = sorted((tmp_path / "out/Mini" / f"{scheme}_seed5").iterdir())
    assert len(steps) == len(SCHEMES[scheme].steps)
    assert all(list(step.glob("*.caffemodel.h5")) for step in steps)


def test_a_finished_run_is_not_run_again(run, tmp_path, capsys, monkeypatch):
    assert run("--schemes", "c", "--seeds", "5", "--iters", "1") == 0
    monkeypatch.setattr(ablation_runs, "one_run", lambda *_: pytest.fail("it ran"))
    assert run("--schemes", "c", "--seeds", "5", "--iters", "1") == 0
    assert "not run again" in capsys.readouterr().out
    assert run("--schemes", "c", "--seeds", "5", "--iters", "2") == 1
    assert "other settings (iterations)" in capsys.readouterr().err


def test_the_same_seed_gives_the_same_figures(run, tmp_path):
    found = []
    for _ in range(2):
        assert run("--schemes", "b", "--seeds", "7", "--iters", "6") == 0
        path, = (tmp_path / "results").iterdir()
        found.append({k: v for k, v in json.loads(path.read_text()).items() if "seconds" not in k})
        weights = (tmp_path / "out/Mini/b_seed7/step6").glob("*.caffemodel.h5")
        found[-1]["weights"] = [ablation_runs.file_hash(path) for path in weights]
        path.unlink()
    assert found[0] == found[1]


def test_a_run_that_is_interrupted_leaves_no_result(run, tmp_path, monkeypatch, capsys):
    def interrupted(self, iterations):
        self.solver.step(1)

    monkeypatch.setattr("mnc.training.loop.SolverWrapper.train_model", interrupted)
    assert run("--schemes", "c", "--seeds", "5", "--iters", "2") == 1
    assert "stopped at iteration 1 of 2" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_a_step_has_an_iteration_at_least(run, capsys):
    assert run("--schemes", "b", "--seeds", "5", "--iters", "5") == 1
    assert "5 iterations are too few for 6 steps" in capsys.readouterr().err


def made_up(scheme, seed, value):
    return {"net": "Mini", "iterations": 10, "imdb": "x", "test_imdb": "y", "scheme": scheme,
            "seed": seed, "mAP^r@0.5": value, "mAP^r@0.7": value / 2, "train_seconds": 4.0,
            "test_seconds": 2.0}


def test_means_spread_and_paired_differences():
    runs = [made_up("c", 1, .1), made_up("c", 2, .2), made_up("c", 3, .3), made_up("d", 2, .25),
            made_up("d", 1, .11)]
    text = ablation.report(runs)
    assert "| (c) end to end, 3 stages | 3 | 20.0 ± 10.0 | 10.0 ± 5.0 | 4 | 2 |" in text
    assert "| d - c | 1, 2 | +1.0, +5.0; 3.0 ± 2.8 | +0.5, +2.5; 1.5 ± 1.4 |" in text
    assert "(a)" not in text and "b - a" not in text


def test_only_runs_of_one_length_share_a_table():
    text = ablation.report([made_up("c", 1, .1), {**made_up("d", 1, .2), "iterations": 20}])
    assert "10 iterations on" in text and "20 iterations on" in text and "d - c" not in text


def test_the_page_gets_the_results(run, tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{ablation.BEGIN}\nold\n{ablation.END}\nafter\n")
    assert run("--report") == 0
    assert page.read_text() == (f"before\n\n{ablation.BEGIN}\n\nno runs yet\n\n{ablation.END}\n"
                                "after\n")
    assert "no runs yet" in capsys.readouterr().out
    page.write_text("no place for results")
    assert run("--report") == 1
    assert "to put the results between" in capsys.readouterr().err


def test_the_documentation_has_what_the_files_say():
    """After new runs: mnc ablation --report"""
    page = (ROOT / "docs/ablation.md").read_text()
    text = ablation.report(ablation.load_runs(ROOT / "experiments/results"))
    assert f"{ablation.BEGIN}\n\n{text}\n\n{ablation.END}" in page


def test_a_configuration_file_is_refused(run, capsys):
    assert run("--report", "--cfg", str(ROOT / "experiments/cfgs/Mini/mnc_5stage.yml")) == 1
    assert "by --set" in capsys.readouterr().err


def test_the_script(arguments, tmp_path):
    done = subprocess.run([str(ROOT / "experiments/scripts/ablation.sh"), "cpu", "Mini",
                           *arguments, "--schemes", "c", "--seeds", "1", "--iters", "1", *QUICK],
                          env={**os.environ, "PYTHON": sys.executable}, cwd=tmp_path,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| (c) end to end, 3 stages | 1 |" in done.stdout


def test_usage():
    done = subprocess.run([str(ROOT / "experiments/scripts/ablation.sh"), "cpu"],
                          capture_output=True, text=True)
    assert done.returncode == 2 and "ablation.sh GPU NET" in done.stderr
