"""Every command of docs/distributed.md, with two local workers on small data."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import caffe
from conftest import ROOT

sys.path.insert(0, str(ROOT / "tests/caffe"))
from test_training_together import write_lenet
from test_worker_faults import SMALL, SOLVER

PAGE = (ROOT / "docs/distributed.md").read_text()
BLOCKS = re.findall(r"^```\n(.*?)^```$", PAGE, re.M | re.S)
CAFFE, MNC = BLOCKS[0].splitlines()
TORCHRUN, SLURM = BLOCKS[1], BLOCKS[2]
PROGRAMS = {"caffe": "-m caffe", "mnc": "-m mnc.cli", "torchrun": "-m torch.distributed.run"}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A solver with its data, and the programs as shell commands."""
    write_lenet(tmp_path)
    (tmp_path / "small.prototxt").write_text(SMALL)
    (tmp_path / "solver.prototxt").write_text(SOLVER % "s")
    (tmp_path / "bin").mkdir()
    for name, module in PROGRAMS.items():
        program = tmp_path / "bin" / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {module} "$@"\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "caffe-mnc/python"),
                                                      str(ROOT / "lib"), *sys.path]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


def bash(folder: Path, command: str) -> str:
    done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True,
                          timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def free_port() -> int:
    """Below those that systems hand out by themselves, so that it stays free until it is taken."""
    for port in range(20000 + os.getpid() % 5000, 30000):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise OSError("no port is free from 20000 to 30000")


def weights(folder: Path) -> bytes:
    net = caffe.extend.read_caffemodel(str(folder / "s_iter_8.caffemodel"))
    return b"".join(np.array(b.data, np.float32).tobytes() for y in net.layer for b in y.blobs)


DIES_ONCE = """
import os, signal, caffe

class DiesOnce(caffe.Layer):
    def setup(self, bottom, top):
        self.passes = 0

    def reshape(self, bottom, top):
        top[0].reshape(1)

    def forward(self, bottom, top):
        self.passes += 1
        if self.passes == 5 and os.environ["RANK"] == "1" and not os.path.exists("died"):
            open("died", "w").close()
            os.kill(os.getpid(), signal.SIGKILL)

    def backward(self, top, propagate_down, bottom):
        pass
"""


def test_workers_of_caffe_train_and_restarts_of_torchrun_give_the_same_weights(folder):
    """Worker 1 of the second is killed in its fifth iteration: kill.py in small."""
    said = bash(folder, CAFFE)
    assert "Training with 2 workers: an update takes the mean of 2 passes" in said
    assert said.count("Optimization Done") == 2                 # of worker 0, as Caffe says it
    alone = weights(folder)
    for path in folder.glob("s_iter_*"):
        path.unlink()
    solver = (folder / "solver.prototxt").read_text()
    (folder / "solver.prototxt").write_text(solver.replace("snapshot: 4", "snapshot: 1"))
    (folder / "dies_once.py").write_text(DIES_ONCE)
    (folder / "small.prototxt").write_text(SMALL + 'layer { name: "end" type: "Python" bottom: "x" top: "end" '
                                           'python_param { module: "dies_once" layer: "DiesOnce" } }')
    said = bash(folder, TORCHRUN)
    assert (folder / "died").is_file() and re.search(r"Resuming from s_iter_[34]\.", said), said
    assert weights(folder) == alone


def test_two_machines_as_slurm_starts_them(folder):
    """srun starts the command on each machine; here both are this one."""
    port = free_port()
    stand_ins = "scontrol() { echo localhost; }; srun() { \"$@\" & one=$!; \"$@\" & two=$!; wait $one && wait $two; }\n"
    said = bash(folder, stand_ins + "export SLURM_NNODES=2 SLURM_JOB_NODELIST=x\n"
                + SLURM.replace("29400", str(port)))
    assert said.count("Training with 2 workers") == 1
    assert (folder / "s_iter_8.caffemodel").is_file()


def test_mnc_train(folder, tiny_model, tiny_scenes):
    command = MNC.replace("solver.prototxt", str(tiny_model / "solver.prototxt")).replace(
        "scenes_train", f"sbd:{tiny_scenes}:train")
    said = bash(folder, f"{command} --iters 2 --out out --cfg "
                f"{ROOT}/experiments/cfgs/Mini/mnc_5stage.yml")
    assert said.count("done solving") == 1 and "Training with 2 workers" in said
    written = {path.name for path in (folder / "out").iterdir()}
    assert {"mini_mnc_5stage_iter_2.caffemodel.h5", "train.log", "metrics.jsonl"} <= written
