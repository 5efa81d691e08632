"""Tests that break off, and tests that several workers share: the same result, nothing lost."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
import torch

import caffe
from caffe.extend import Team
from conftest import ROOT
from mnc import cli
from mnc.commands import session
from mnc.config import cfg
from mnc.data import get_dataset
from mnc.inference import TestSettings, load_net, runs, segment_image
from mnc.inference import cascade as inference
from mnc.inference import test_dataset as run_test
from mnc.inference.shared import load_found, save_found
from mnc.inference.shared import test_together as run_together
from mnc.inference.whole_sets import Finder, of_the_set
from mnc.instances import InferenceError
from mnc.results import detections as results
from mnc.tasks import TASKS

sys.path.insert(0, str(ROOT / "tests"))
from workers import HUNG, meeting_place, place_of

CFG = str(ROOT / "experiments/cfgs/Mini/mnc_5stage.yml")
ALONE = Team(0, 1)

# Worker 1 of two, in a process of its own: the first time its net fails, the second time not.
WORKER = """
import os, sys
from mnc import cli
from mnc.commands import session
from mnc.inference import cascade as inference

def broken(net, image, cfg):
    raise RuntimeError("out of memory")

whole = inference.detect_boxes
for inference.detect_boxes, turn in ((broken, "0"), (whole, "1")):
    os.environ["TORCHELASTIC_RESTART_COUNT"] = turn
    try:
        print("status", cli.main(sys.argv[1:]))
    except RuntimeError as error:
        print("error", error)
"""


@pytest.fixture(scope="module")
def weights(tiny_model, tmp_path_factory):
    caffe.set_random_seed(3)
    path = tmp_path_factory.mktemp("weights") / "tiny_iter_5.caffemodel.h5"
    caffe.Net(str(tiny_model / "train.prototxt"), caffe.TRAIN).save_hdf5(str(path))
    return path


@pytest.fixture
def arguments(tiny_model, weights, tiny_scenes):
    """Of `mnc`, into the folder that is appended."""
    return ["test", "--cpu", "--def", str(tiny_model / "test.prototxt"), "--net", str(weights),
            "--imdb", f"sbd:{tiny_scenes}:val", "--cfg", CFG, "--out"]


def arrays(path):
    with np.load(path) as file:
        return {name: file[name] for name in file if name != "about"}


def assert_same(path, other):
    one, two = arrays(path), arrays(other)
    assert set(one) == set(two) and len(one["boxes"]) > 0
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)


def failing_at(call, whole=segment_image):
    calls = iter(range(100))

    def segment(net, image, cfg):
        if next(calls) == call:
            raise RuntimeError("out of memory")
        return whole(net, image, cfg)
    return segment


def test_what_was_found_before_an_error_is_kept_and_gone_on_from(arguments, tmp_path, monkeypatch,
                                                                 capsys):
    assert cli.main([*arguments, str(tmp_path / "whole")]) == 0
    out = tmp_path / "out"
    monkeypatch.setattr(inference, "segment_image", failing_at(2))
    with pytest.raises(RuntimeError, match="out of memory"):
        cli.main([*arguments, str(out)])
    part = out / "detections_seg_partial.npz"
    assert f"2 of 3 images are done and kept in {part}" in capsys.readouterr().out
    assert [path.name for path in out.iterdir()] == [part.name]
    monkeypatch.setattr(inference, "segment_image", failing_at(1))          # one is left
    assert cli.main([*arguments, str(out), "--reuse"]) == 0
    assert_same(out / "detections_seg.npz", tmp_path / "whole/detections_seg.npz")
    assert not part.exists()
    assert re.search(r"^1 image in [0-9.]+ s, [0-9.]+ images a second$", capsys.readouterr().out, re.M)
    assert cli.main([*arguments, str(out), "--reuse"]) == 0                 # none is tested
    assert "images a second" not in capsys.readouterr().out


@pytest.mark.parametrize("images, seconds, cores, said", (
    (3000, 90.0, 2, True), (3000, 90.0, 1, False),      # no core is idle
    (100, 4.0, 2, False),                               # workers would take as long to start
    (900, 90.0, 2, False)))                             # larger images keep the cores busy
def test_workers_are_named_where_they_would_be_faster(capsys, images, seconds, cores, said):
    runs.say_rate(images, seconds, cores)
    assert ("--workers 2" in capsys.readouterr().out) is said


def test_one_process_on_the_cpu_has_idle_cores(tiny_model, monkeypatch):
    monkeypatch.setattr(runs.torch, "get_num_threads", lambda: 2)
    net = caffe.Net(str(tiny_model / "test.prototxt"), caffe.TEST)
    finder = Finder([net], TestSettings.of(cfg), TASKS["seg"])
    assert runs.idle_cores(ALONE, finder) == 2 and runs.idle_cores(Team(0, 2), finder) == 1
    net.device = torch.device("cuda")
    assert runs.idle_cores(ALONE, finder) == 1


def test_what_is_kept_is_taken_only_on_request_and_for_the_same(arguments, tmp_path, monkeypatch,
                                                                capsys):
    out = tmp_path / "out"
    monkeypatch.setattr(inference, "segment_image", failing_at(1))
    with pytest.raises(RuntimeError):
        cli.main([*arguments, str(out)])
    monkeypatch.setattr(inference, "segment_image", failing_at(1))
    with pytest.raises(RuntimeError):
        cli.main([*arguments, str(out), "--reuse", "--set", "TEST.RPN_POST_NMS_TOP_N", "8"])
    assert "partial.npz is not reused, it was made otherwise" in capsys.readouterr().out
    monkeypatch.setattr(inference, "segment_image", failing_at(2))
    with pytest.raises(RuntimeError):
        cli.main([*arguments, str(out)])                # three to do: the last one fails
    assert "2 of 3 images" in capsys.readouterr().out


def test_ctrl_c_keeps_what_was_found():
    def test(images):
        yield images[0], "found"
        raise KeyboardInterrupt

    kept = []
    with pytest.raises(KeyboardInterrupt):
        run_together(ALONE, [5, 6], test, kept.append)
    assert kept == [{5: "found"}]


class Third(Team):
    """Worker 0 of three; what the others send is given."""

    def gather(self, value):
        return [value, ({1: "b"}, "worker 1: RuntimeError: lost"), ({2: "c"}, None)]


def test_an_error_of_another_worker_is_told_and_costs_its_own_images_only():
    kept, seen = [], []

    def test(images):
        seen.extend(images)
        return ((i, "a") for i in images)

    with pytest.raises(InferenceError, match="^worker 1: RuntimeError: lost$"):
        run_together(Third(0, 3), range(7), test, kept.append)
    assert seen == [0, 3, 6] and kept == [{0: "a", 3: "a", 6: "a", 1: "b", 2: "c"}]


@pytest.mark.parametrize("task", ["seg", "det"])
def test_shares_make_the_same_result_where_classes_have_a_limit(tiny_model, weights, tiny_scenes,
                                                                mini_cfg, task):
    mini_cfg.TEST.USE_MASK_MERGE = False
    settings = replace(TestSettings.of(mini_cfg), most_of_class=2)
    net = load_net(tiny_model / "test.prototxt", weights)
    data = get_dataset(f"sbd:{tiny_scenes}:val")
    whole = run_test(net, data, settings, task)
    found = {}
    for share in ([2], [0, 1]):
        found.update(Finder(net, settings, TASKS[task]).images(data, share))
    joined = of_the_set([found[i] for i in range(3)], settings, TASKS[task])
    assert sum(len(boxes) for row in whole for boxes, _ in row) > 0
    for row, other in zip(whole, joined):
        for one, two in zip(row, other):
            for a, b in zip(one, two):
                np.testing.assert_array_equal(a, b)


def test_found_comes_back(tiny_scenes, tmp_path):
    data, rng = get_dataset(f"sbd:{tiny_scenes}:val"), np.random.default_rng(1)
    found = {i: [(rng.random((n, 5)), rng.random((n, 3, 3))) for n in (0, i, 2, 0, 1, 0)]
             for i in (2, 0)}
    save_found(tmp_path / "a.npz", data, found, {"task": "seg"})
    back = load_found(tmp_path / "a.npz")
    assert list(back) == [0, 2] and results.about_detections(tmp_path / "a.npz")["task"] == "seg"
    for i, per_class in back.items():
        for one, two in zip(per_class, found[i], strict=True):
            for a, b in zip(one, two):
                np.testing.assert_array_equal(a, b)


def test_two_workers_give_what_one_gives(arguments, tmp_path, monkeypatch, capsys):
    """At first one of them fails: what the other one found is kept and used."""
    assert cli.main([*arguments, str(tmp_path / "alone"), "--task", "det"]) == 0
    shared = [*arguments, str(tmp_path / "shared"), "--task", "det", "--reuse"]
    monkeypatch.setattr("caffe.engine.parallel.team.PATIENCE", timedelta(seconds=HUNG))
    store, path = meeting_place(), os.pathsep.join(sys.path)
    other = subprocess.Popen([sys.executable, "-c", WORKER, *shared], text=True,
                             env={**os.environ, **place_of(store, 1, 2), "PYTHONPATH": path},
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    for name, value in place_of(store, 0, 2).items():
        monkeypatch.setenv(name, value)
    assert cli.main(shared) == 1
    printed = capsys.readouterr()
    assert "2 of 3 images are done and kept in" in printed.out
    assert "error: worker 1: RuntimeError: out of memory" in printed.err
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert cli.main(shared) == 0
    assert "partial.npz is reused" in capsys.readouterr().out
    assert other.communicate(timeout=HUNG)[0] == "error out of memory\nstatus 0\n"
    assert_same(tmp_path / "shared/detections_det.npz", tmp_path / "alone/detections_det.npz")
    metrics = [(tmp_path / name / "metrics_det.json").read_text() for name in ("alone", "shared")]
    assert metrics[0] == metrics[1]


def test_other_commands_are_for_one_process(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert cli.main(["evaluate", "x.npz"]) == 1
    assert "mnc evaluate is work for one process" in capsys.readouterr().err


def test_each_worker_of_a_machine_takes_its_own_gpu(monkeypatch):
    chosen = []
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr(caffe, "set_mode_gpu", lambda: None)
    monkeypatch.setattr(caffe, "set_device", chosen.append)
    session.choose_device(None, cpu=False)
    cfg.GPU_ID = 0
    session.choose_device("1", cpu=False)
    assert chosen == [3, 1]
