"""Training with `--val`: what it measures, what it keeps, and that it leaves no trace."""

from __future__ import annotations

import csv
import json
import os
import signal
from dataclasses import replace
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

import caffe
from caffe.extend import read_about, read_rows
from mnc.config import changes_in_file
from mnc.data import DataError, get_dataset
from mnc.inference import load_net
from mnc.inference.cascade import im_detect
from mnc.inference.settings import TestSettings
from mnc.nets.fit import TrainingError
from mnc.training.loop import Care, prepared
from mnc.validation import Validation


@pytest.fixture
def held_out(tiny_scenes):
    return get_dataset(f"sbd:{tiny_scenes}:val")


@pytest.fixture
def wrapped(tiny_model, tiny_scenes, tmp_path, mini_cfg):
    """A training of the tiny net, ready to run, into a folder of this name, from the same seeds."""
    mini_cfg.TEST.SCALES, mini_cfg.TRAIN.SCALES = (64,), (64,)

    def wrapped(name, **options):
        np.random.seed(3)
        caffe.set_random_seed(3)
        return prepared(str(tiny_model / "solver.prototxt"),
                        get_dataset(f"sbd:{tiny_scenes}:train"), tmp_path / name,
                        care=Care(**options))
    return wrapped


@pytest.fixture
def validation(tiny_model, held_out, mini_cfg):
    """Measures on the held-out scenes; with `values` it says these are COCO's mAP instead."""
    def validation(every, patience=0, values=None):
        found = Validation(held_out, tiny_model / "test.prototxt", every=every, patience=patience)
        if values:
            values = iter(values)
            found.measure = lambda net, tell, workers: dict.fromkeys(found.figures, next(values))
        return found
    return validation


def stored(path):
    """Every data set of a snapshot by name; what is kept of validations is another matter."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]})
                        if isinstance(item, h5py.Dataset) and "validation" not in name else None)
    return found


def test_validation_leaves_no_trace_in_the_training(wrapped, validation, tmp_path):
    wrapped("without").train_model(5)
    np.random.seed(7)
    measured = wrapped("with", validation=validation(2))
    measured.train_model(5)
    assert measured.judge.seen_at == 5          # at 2, 4 and the end
    for kind in ("caffemodel", "solverstate"):
        one, other = (stored(tmp_path / name / f"mini_mnc_5stage_iter_5.{kind}.h5")
                      for name in ("without", "with"))
        assert set(one) == set(other)
        for name in set(one) - {"learned_net"}:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.mark.parametrize("decay", [0, 0.5])
def test_what_is_measured_are_the_weights_of_the_snapshot(decay, wrapped, validation, tiny_model,
                                                          held_out, mini_cfg):
    """bbox_pred as tests want it, which training holds otherwise; the average of the weights."""
    mini_cfg.TRAIN.EMA = decay
    seen = []
    measuring = validation(2)
    measure = measuring.measure

    def both(net, tell, workers):
        found = measure(net, tell, workers)
        seen.append(im_detect(measuring.net, held_out.image(1), TestSettings.of(mini_cfg)))
        return found

    measuring.measure = both
    (weights,) = wrapped("out", validation=measuring).train_model(2)
    loaded = load_net(tiny_model / "test.prototxt", weights)
    expected = im_detect(loaded, held_out.image(1), TestSettings.of(mini_cfg))
    np.testing.assert_array_equal(seen[0].boxes, expected.boxes)
    np.testing.assert_array_equal(seen[0].masks, expected.masks)


def test_figures_go_into_rows_a_table_a_log_and_pictures(wrapped, validation, tmp_path, caplog):
    caplog.set_level("INFO", "mnc")
    wrapped("out", validation=validation(10)).train_model(20)
    rows = [row for row in read_rows(tmp_path / "out/metrics.jsonl") if "validation" in row]
    assert [row["iteration"] for row in rows] == [10, 20]
    assert {"COCO mAP^r@[.5:.95]", "mAP^r@0.5", "mAP^b@0.5"} <= set(rows[0]["validation"])
    assert all((tmp_path / "out/validation" / name).is_file() for name in rows[0]["pictures"])
    assert len(rows[0]["pictures"]) == 3
    with open(tmp_path / "out/metrics.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["iteration"] for row in table if row["COCO mAP^r@[.5:.95]"]] == ["10", "20"]
    assert [row["iteration"] for row in table if row["loss"]] == ["20"]
    assert "Iteration 10, validation on sbd:" in caplog.text


def test_the_best_weights_stay_beside_the_last(wrapped, validation, tmp_path):
    training = wrapped("out", validation=validation(1, values=[.1, .3, .2, .3]))
    kept = []
    training.solver.add_callback(lambda: kept.append(training.solver.iter == 2 and stored(
        tmp_path / "out/mini_mnc_5stage_best.caffemodel.h5")), lambda: None)
    training.train_model(4)
    best = tmp_path / "out/mini_mnc_5stage_best.caffemodel.h5"
    assert kept[2] and all(np.array_equal(value, kept[2][name])
                           for name, value in stored(best).items())
    about = read_about(best)
    assert json.loads(about["validation"])["iteration"] == 2
    assert json.loads(about["classes"]) == ["agate", "beryl", "coral", "garnet", "opal"]
    assert changes_in_file(best.with_name("mini_mnc_5stage_best.yml"))["TEST.SCALES"] == [64]
    last = read_about(tmp_path / "out/mini_mnc_5stage_iter_4.caffemodel.h5")
    assert "validation" not in last


def test_patience_ends_training_and_says_why(wrapped, validation, capsys):
    training = wrapped("out", validation=validation(1, 2, [.2, .1, .3, .3, .2, .9]))
    written = training.train_model(50)
    assert [path.name for path in written] == ["mini_mnc_5stage_iter_5.caffemodel.h5"]
    assert training.ending().startswith("stopped at iteration 5: nothing better in 2 validations; "
                                        "the best, of iteration 3: ")
    assert capsys.readouterr().out.endswith("done solving\n")


def test_patience_and_the_best_go_on_where_they_were(wrapped, validation, tmp_path, mini_cfg):
    wrapped("out", validation=validation(1, 3, [.5, .1])).train_model(2)
    before = (tmp_path / "out/mini_mnc_5stage_best.caffemodel.h5").read_bytes()
    again = wrapped("out", validation=validation(1, 3, [.2, .3, .9]), resume="auto")
    again.train_model(50)
    assert again.solver.iter == 4 and again.judge.best == .5 and again.judge.best_at == 1
    assert (tmp_path / "out/mini_mnc_5stage_best.caffemodel.h5").read_bytes() == before


def test_a_stop_breaks_a_validation_off_and_it_comes_after_resuming(wrapped, validation, tmp_path):
    training = wrapped("out", validation=validation(2))
    training.judge.tell = lambda done, images: os.kill(os.getpid(), signal.SIGINT)
    assert len(training.train_model(9)) == 1 and training.solver.iter == 2
    assert training.judge.seen_at == 0
    again = wrapped("out", validation=validation(2), resume="auto")
    again.train_model(3)
    rows = read_rows(tmp_path / "out/metrics.jsonl")
    assert [row["iteration"] for row in rows if "validation" in row] == [3]


def test_other_classes_are_refused(tiny_model, tiny_net, held_out, mini_cfg):
    held_out.classes = held_out.classes[:-1]
    with pytest.raises(TrainingError, match="it is for 6 classes, the data set has 5"):
        Validation(held_out, tiny_model / "test.prototxt", every=1)


def test_images_without_an_instance_cannot_be_measured_on(tiny_model, held_out, mini_cfg, monkeypatch):
    """A crowd is none; one instance in the last image will do."""
    whole = [held_out.annotation(i) for i in range(3)]
    crowds = [replace(each, crowd=np.ones(len(each.labels), bool)) for each in whole]
    monkeypatch.setattr(held_out, "annotation", lambda i: crowds[i])
    with pytest.raises(DataError, match="none of its 3 images has an instance of agate, .*: there is nothing"):
        Validation(held_out, tiny_model / "test.prototxt", every=1)
    crowds[2] = whole[2]
    Validation(held_out, tiny_model / "test.prototxt", every=1)


def test_boxes_alone_are_measured_as_boxes(tiny_net, held_out, mini_cfg, tmp_path):
    mini_cfg.MNC_MODE = False
    mini_cfg.TEST.SCALES = (64,)
    folder = tiny_net("faster_rcnn_end2end")
    measuring = Validation(held_out, folder / "test.prototxt", every=1)
    trained = caffe.Net(str(folder / "test.prototxt"), caffe.TEST)
    alone = SimpleNamespace(deal=range, gathered=lambda part: [part])
    found = measuring.measure(trained, lambda done, images: True, alone)
    assert next(iter(found)) == "COCO mAP^b@[.5:.95]"
    assert len(measuring.pictures(tmp_path)) == 3
