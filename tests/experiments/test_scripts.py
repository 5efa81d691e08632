"""The shell scripts, run as users run them, on a tiny data set and net."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "experiments/scripts/mnc_5stage.sh"

# How the scripts of the original release find the snapshot to test.
LEGACY_SEARCH = """grep -B 1 "done solving" {log} | grep "Wrote snapshot" | awk '{{print $4}}'"""


@pytest.fixture
def run(tiny_model, tiny_scenes, tmp_path):
    """The script with everything that is large made small; its results go to tmp_path."""
    def run(*arguments):
        environment = {**os.environ, "ITERS": "2", "TRAIN_IMDB": f"sbd:{tiny_scenes}:train",
                       "TEST_IMDB": f"sbd:{tiny_scenes}:val", "MODEL": str(tiny_model),
                       "PYTHON": sys.executable,
                       "LOGS": str(tmp_path / "logs"), "OMP_NUM_THREADS": "1"}
        return subprocess.run([str(SCRIPT), *arguments], env=environment, capture_output=True,
                              text=True, cwd=tmp_path)
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


def test_a_failed_training_is_not_tested(run, tmp_path):
    done = run("cpu", "Mini", "--set", "TRAIN.NO_SUCH_KEY", "1")
    assert done.returncode != 0
    assert "unknown key" in done.stdout and "AP^r" not in done.stdout


def test_usage(run):
    done = run("cpu")
    assert done.returncode == 2 and "GPU NET" in done.stderr


def test_scripts_are_executable():
    scripts = [*ROOT.glob("experiments/scripts/*.sh"), *ROOT.glob("tools/[!_]*.py"),
               ROOT / ".ci/run"]
    assert [str(path) for path in scripts if not os.access(path, os.X_OK)] == []
