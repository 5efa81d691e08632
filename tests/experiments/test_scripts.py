"""The shell scripts, run as users run them, on a tiny data set and net."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "experiments/scripts"

# How the scripts of the original release find the snapshot to test.
LEGACY_SEARCH = """grep -B 1 "done solving" {log} | grep "Wrote snapshot" | awk '{{print $4}}'"""


@pytest.fixture
def run(tiny_model, tiny_scenes, tmp_path):
    """The script with everything that is large made small; its results go to tmp_path."""
    def run(*arguments, task="mnc_5stage", model=tiny_model, python=sys.executable):
        environment = {**os.environ, "ITERS": "2", "TRAIN_IMDB": f"sbd:{tiny_scenes}:train",
                       "TEST_IMDB": f"sbd:{tiny_scenes}:val", "MODEL": str(model),
                       "PYTHON": str(python),
                       "LOGS": str(tmp_path / "logs"), "OMP_NUM_THREADS": "1"}
        command = [str(SCRIPTS / f"{task}.sh"), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True,
                              cwd=tmp_path)
    return run


def test_train_find_the_snapshot_test(run, tmp_path):
    done = run("cpu", "Mini", "--set", "ROOT_DIR", str(tmp_path), "TEST.RPN_POST_NMS_TOP_N", "10")
    assert done.returncode == 0, done.stdout + done.stderr
    log, = (tmp_path / "logs").iterdir()
    assert log.name.startswith("mnc_5stage_Mini_--set_ROOT_DIR")
    snapshot, = tmp_path.glob("output/mini_mnc_5stage/*/*_iter_2.caffemodel.h5")
    found = subprocess.run(["bash", "-c", LEGACY_SEARCH.format(log=log)], capture_output=True,
                           text=True, check=True)
    assert found.stdout == f"{snapshot}\n"
    assert list(tmp_path.glob("output/mini_mnc_5stage/*/mini_mnc_5stage_iter_2/metrics_seg.json"))
    assert "AP^r@0.5" in done.stdout and "AP^r@0.5" in log.read_text()


@pytest.mark.parametrize("task, metric", [("mnc_3stage", "AP^r@0.5"),
                                          ("faster_rcnn_end2end", "AP")])
def test_the_other_tasks(run, tiny_net, tmp_path, task, metric):
    done = run("cpu", "Mini", "--set", "ROOT_DIR", str(tmp_path), "TEST.RPN_POST_NMS_TOP_N", "10",
               task=task, model=tiny_net(task))
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(tmp_path.glob(f"output/mini_{task}/*/*_iter_2.caffemodel.h5"))
    assert metric in done.stdout


@pytest.fixture
def stub(tmp_path):
    """A Python of which the training says what it is told to; the test shows its arguments."""
    def stub(*lines):
        path = tmp_path / "python"
        path.write_text("#!/bin/sh\ncase $1 in *train_net.py) cat <<'END'\n" + "\n".join(lines)
                        + "\nEND\n;; *) printf '<%s>' \"$@\";; esac\n")
        path.chmod(0o755)
        return path
    return stub


def test_the_last_snapshot_is_found_whatever_is_said_after_it(run, stub):
    """matplotlib, where it was never used, said that it builds its font cache."""
    done = run("cpu", "Mini", python=stub(
        "Wrote snapshot to: out/x_iter_5.caffemodel.h5", "Iteration 9, loss = 1",
        "Wrote snapshot to: my: out/x_iter_9.caffemodel.h5", "building the font cache",
        "done solving"))
    assert done.returncode == 0 and "<--net><my: out/x_iter_9.caffemodel.h5>" in done.stdout


def test_several_gpus_and_workers_go_to_both_commands(run, stub, monkeypatch):
    done = run("0,1", "Mini", python=stub("Wrote snapshot to: out/x_iter_5.caffemodel.h5"))
    assert done.returncode == 0 and "<--gpu><0,1><--def>" in done.stdout
    monkeypatch.setenv("WORKERS", "2")
    done = run("cpu", "Mini", python=stub("Wrote snapshot to: out/x_iter_5.caffemodel.h5"))
    assert done.returncode == 0 and "<--gpu><cpu><--workers><2><--def>" in done.stdout


def test_a_training_without_a_snapshot_says_so(run, stub):
    done = run("cpu", "Mini", python=stub("done solving"))
    assert done.returncode == 1 and "wrote no snapshot" in done.stderr
    assert "<--net>" not in done.stdout


@pytest.mark.parametrize("task, net, said", [
    ("mnc_5stage", "ZF", ["<voc_2012_seg_val>", "<seg>", "models/ZF/mnc_5stage/test.prototxt"]),
    ("cfm", "Mini", ["<scenes_val>", "<cfm>", "experiments/cfgs/Mini/cfm.yml"]),
    ("faster_rcnn_end2end", "VGG16", ["<voc_2007_test>", "<det>"])])
def test_each_task_has_its_own_data_and_files(stub, tmp_path, task, net, said):
    environment = {"PATH": os.environ["PATH"], "LOGS": str(tmp_path / "logs"),
                   "PYTHON": str(stub("Wrote snapshot to: x"))}
    done = subprocess.run([str(SCRIPTS / f"{task}.sh"), "0", net], env=environment,
                          capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and all(word in done.stdout for word in said), done.stdout


def test_a_failed_training_is_not_tested(run, tmp_path):
    done = run("cpu", "Mini", "--set", "TRAIN.NO_SUCH_KEY", "1")
    assert done.returncode != 0
    assert "unknown key" in done.stdout and "AP^r" not in done.stdout


@pytest.mark.parametrize("task", ["mnc_5stage", "mnc_3stage", "mnc_5stage_paper", "cfm",
                                  "faster_rcnn_end2end"])
def test_usage(run, task):
    done = run("cpu", task=task)
    assert done.returncode == 2 and f"{task}.sh GPU NET" in done.stderr


def test_the_script_behind_the_tasks_has_none_itself(run):
    done = run("cpu", "Mini", task="train_and_test")
    assert done.returncode == 2 and "a link, is the TASK" in done.stderr


def test_scripts_are_executable():
    scripts = [*ROOT.glob("experiments/scripts/*.sh"), *ROOT.glob("tools/[!_]*.py"),
               ROOT / ".ci/run"]
    assert [str(path) for path in scripts if not os.access(path, os.X_OK)] == []
