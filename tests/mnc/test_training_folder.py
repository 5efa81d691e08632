"""The folder of a training: one training in it, what is kept there, and how it is gone on with."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from caffe.commands.parse_log import parse_log
from caffe.extend import read_rows
from mnc import cli
from mnc.nets.fit import TrainingError
from mnc.training import loop
from mnc.training.folder import clear, default_folder, output_folder, snapshots

ROOT = Path(__file__).resolve().parents[2]
FEW = ["--set", "TRAIN.SCALES", "[64]", "TRAIN.RPN_POST_NMS_TOP_N", "20", "TEST.SCALES", "[64]",
       "TEST.RPN_POST_NMS_TOP_N", "20"]


@pytest.fixture
def train(tiny_model, tiny_scenes, tmp_path, monkeypatch):
    """`mnc train` of the tiny net, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def train(*words, few=FEW, solver=True):
        given = ["--solver", str(tiny_model / "solver.prototxt"), "--imdb",
                 f"sbd:{tiny_scenes}:train", "--cfg",
                 str(ROOT / "experiments/cfgs/Mini/mnc_5stage.yml")] if solver else []
        return cli.main(["train", "--cpu", *given, *words, *few])
    return train


def a_training(folder: Path, *numbers: int) -> Path:
    folder.mkdir(parents=True)
    for number in numbers:
        for kind in ("caffemodel.h5", "solverstate.h5", "yml"):
            (folder / f"net_iter_{number}.{kind}").write_text("x")
    return folder


# --- which folder --------------------------------------------------------------------------------

def test_a_folder_with_a_training_is_refused_or_numbered_or_gone_on_with(tmp_path):
    default = str(a_training(tmp_path / "output", 10))
    assert output_folder(None, default, None) == tmp_path / "output_2"
    a_training(tmp_path / "output_2", 10)
    assert default_folder(default) == tmp_path / "output_3"
    assert output_folder(None, default, "auto") == tmp_path / "output_2"
    assert output_folder(None, default, None, overwrite=True) == tmp_path / "output"
    with pytest.raises(TrainingError, match="another training is there .net_iter_10"):
        output_folder(default, "d", None)
    for resume in ("auto", default, f"{default}/net_iter_10.solverstate.h5"):
        assert output_folder(default, "d", resume) == tmp_path / "output"
    assert output_folder(None, "d", f"{default}/net_iter_10.solverstate.h5") == tmp_path / "output"
    with pytest.raises(TrainingError, match="another training is there"):
        output_folder(str(tmp_path / "output_2"), "d", default)
    assert output_folder(str(tmp_path / "new"), "d", default) == tmp_path / "new"


def test_files_in_the_way_of_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("file", "file/below"):
        with pytest.raises(TrainingError, match="file is a file; name a folder"):
            output_folder(str(tmp_path / name), "d", None)


def test_a_folder_with_other_things_is_no_training(tmp_path):
    (tmp_path / "VGG16.mask.caffemodel").write_text("")
    (tmp_path / "train.log").write_text("")
    assert output_folder(str(tmp_path), "d", None) == tmp_path and snapshots(tmp_path) == []


def test_overwriting_removes_a_training_and_nothing_else(tmp_path):
    folder = a_training(tmp_path / "out", 5, 10)
    (folder / "mine.txt").write_text("")
    (folder / "metrics.csv").write_text("")
    (folder / "validation").mkdir()
    with pytest.raises(TrainingError, match="would remove .*net_iter_5"):
        clear(folder, folder / "net_iter_5.caffemodel.h5")
    assert len(snapshots(folder)) == 4
    clear(folder)
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


# --- what it holds -------------------------------------------------------------------------------

def test_the_log_is_kept_in_the_form_that_scripts_read(train, capsys, tmp_path):
    assert train("--iters", "21", "--out", "out") == 0
    rows, _ = parse_log(tmp_path / "out/train.log")
    assert [row["NumIters"] for row in rows] == [0, 20] and rows[1]["LearningRate"] == 0.0007
    text = (tmp_path / "out/train.log").read_text()
    assert re.search(r"^I\d{4} .* solver.py:\d+\] Iteration 20 \(.* iter/s, .*\), loss = ", text,
                     re.M)
    assert "Creating training net" in text      # lines from before there was a folder
    shown = capsys.readouterr()
    assert "\r" not in shown.err and "|" not in shown.err       # no piece of a bar
    assert "Iteration 20 (" in shown.err


def test_a_terminal_gets_one_line_and_the_file_the_log(train, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert train("--iters", "21", "--out", "out", "--val", "scenes_of_nobody") == 1
    capsys.readouterr()
    assert train("--iters", "21", "--out", "out") == 0
    shown = capsys.readouterr()
    last = shown.err.split("\r")[-1]
    assert re.search(r"21/21 \|.*\| epoch 3.3, loss \d+\.?\d*, lr 0.0007, .*it/s, ETA 00:00", last)
    assert "Iteration 20 (" not in shown.err
    assert "Iteration 20 (" in (tmp_path / "out/train.log").read_text()
    assert shown.out.splitlines()[-1] == "done solving"


# --- going on ------------------------------------------------------------------------------------

def test_the_folder_alone_goes_on_as_it_began(train, tmp_path):
    assert train("--iters", "2", "--out", "out", "--keep", "1") == 0
    assert train("--iters", "3", "--out", "whole") == 0
    assert train("--resume", "out", "--iters", "3", few=(), solver=False) == 0
    assert [path.name for path in snapshots(tmp_path / "out")] == [
        f"mini_mnc_5stage_iter_3.{kind}.h5" for kind in ("caffemodel", "solverstate")]
    from mnc.config import changes_in_file

    settings = changes_in_file(tmp_path / "out/mini_mnc_5stage_iter_3.yml")
    assert settings["TRAIN.SCALES"] == [64]
    losses = [[row["losses"] for row in read_rows(tmp_path / name / "metrics.jsonl")
               if "losses" in row] for name in ("out", "whole")]
    assert losses[0] == losses[1]
    assert json.loads((tmp_path / "out/arguments.json").read_text())["arguments"]["iters"] == 3
    same = [(tmp_path / name / "mini_mnc_5stage_iter_3.caffemodel.h5") for name in ("out", "whole")]
    import h5py
    with h5py.File(same[0]) as one, h5py.File(same[1]) as other:
        np.testing.assert_array_equal(one["data/conv1_1/0"][()], other["data/conv1_1/0"][()])


def test_length_and_settings_may_be_others_when_it_goes_on(train, tmp_path, mini_cfg):
    assert train("--epochs", "0.3", "--out", "out") == 0
    assert train("--out", "out", "--resume", "--iters", "3", solver=False,
                 few=["--set", "TEST.NMS", "0.25"]) == 0
    assert mini_cfg.TEST.NMS == 0.25 and mini_cfg.TRAIN.SCALES == (64,)
    assert (tmp_path / "out/mini_mnc_5stage_iter_3.caffemodel.h5").is_file()


def test_what_cannot_be_gone_on_with(train, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert train("--resume", "empty", solver=False) == 1
    assert "does not say how that training began" in capsys.readouterr().err
    assert train("--resume", "--overwrite", "--out", "out") == 1
    assert "not both" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        train("--iters", "-3")
    assert "--iters: a whole number from 0, not '-3'" in capsys.readouterr().err


# --- being stopped -------------------------------------------------------------------------------

def test_ctrl_c_says_where_the_snapshot_is_and_what_goes_on(train, tmp_path, monkeypatch, capsys):
    begun = loop.SolverWrapper._shown

    def shown(self):
        self.solver.after_update.append(lambda: os.kill(os.getpid(), signal.SIGINT))
        return begun(self)

    monkeypatch.setattr(loop.SolverWrapper, "_shown", shown)
    monkeypatch.setattr(sys, "argv", ["mnc"])
    assert train("--iters", "9", "--out", "out") == 130
    said = capsys.readouterr()
    assert "done solving" not in said.out
    assert said.err.splitlines()[-3:] == [
        "stopped at iteration 1 of 9 by Ctrl-C",
        "snapshot: out/mini_mnc_5stage_iter_1.caffemodel.h5",
        "to go on: mnc train --resume out"]
    assert (tmp_path / "out/losses.png").is_file()
    assert read_rows("out/metrics.jsonl")[-1]["end"] == "stopped at iteration 1 of 9 by Ctrl-C"


def test_ctrl_c_while_the_net_is_built(train, monkeypatch, capsys):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "prepared", interrupted)
    assert train("--iters", "9", "--out", "out") == 130
    assert capsys.readouterr().err.splitlines()[-2:] == [
        "stopped before training began: there is nothing to go on from", "interrupted"]


def test_a_training_that_was_stopped_is_not_tested_by_the_script(tmp_path):
    """What is called is a stand-in for Python: it says what it was called with."""
    root = tmp_path / "checkout"
    (root / "experiments/scripts").mkdir(parents=True)
    script = root / "experiments/scripts/mnc_5stage.sh"
    shutil.copy(ROOT / "experiments/scripts/train_and_test.sh", script)
    stand_in = root / "python"
    stand_in.write_text('#!/bin/sh\necho "called $1"\necho "Wrote snapshot to: x.h5"\nexit 130\n')
    stand_in.chmod(0o755)
    done = subprocess.run([script, "cpu", "Mini"], capture_output=True, text=True,
                          env={**os.environ, "PYTHON": str(stand_in), "LOGS": str(tmp_path)})
    assert done.returncode == 130 and "called tools/train_net.py" in done.stdout
    assert "tools/test_net.py" not in done.stdout
    assert "training ended with status 130: nothing is tested" in done.stderr
