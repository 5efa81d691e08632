"""Names of classes, by number and from files."""

from __future__ import annotations

import pytest
import yaml

import caffe
from mnc import Segmenter
from mnc.data import DataError, get_dataset
from mnc.data.classes import VOC_CLASSES, class_names, own_classes
from mnc.nets.settings import known_classes, settings_path
from mnc.training.loop import train


def test_names_are_known_or_numbers():
    assert class_names(3, known=["cat", "dog"]) == ("__background__", "cat", "dog")
    for known in ((), ["cat"]):
        assert class_names(3, known=known) == ("__background__", "class 1", "class 2")
    assert class_names(6)[1] == class_names(21)[1] == "class 1"


def test_names_of_a_coco_file(tmp_path):
    path = tmp_path / "train.json"
    path.write_text('{"categories": [{"id": 7, "name": "boat"}, {"id": 3, "name": "kite"}]}')
    assert class_names(3, path) == ("__background__", "kite", "boat")
    for wrong in ("[]", '{"categories": [{"id": "x"}]}', "{"):
        path.write_text(wrong)
        with pytest.raises(DataError, match="no COCO file with categories"):
            class_names(3, path)


def test_names_travel_with_the_weights(tmp_path, tiny_scenes, tiny_model, mini_cfg):
    """Through snapshots, renamed or without their settings; other settings bear other names."""
    names = ("ash", "beech", "cedar", "elm", "fir")
    data = get_dataset(f"sbd:{tiny_scenes}:train")
    data.classes = ("__background__", *names)
    *_, weights = train(str(tiny_model / "solver.prototxt"), data, tmp_path, None, 1)
    assert yaml.safe_load(settings_path(weights).read_text())["CLASSES"] == list(names)
    assert mini_cfg.CLASSES[0] == "agate"
    segmenter = Segmenter(tiny_model / "test.prototxt", weights)
    assert segmenter.classes == data.classes
    settings_path(weights).unlink()
    assert known_classes(weights) == list(names)
    net = caffe.Net(str(tiny_model / "test.prototxt"), str(weights), caffe.TEST)
    net.save(str(tmp_path / "plain.caffemodel"))
    assert known_classes(tmp_path / "plain.caffemodel") == mini_cfg.CLASSES


def test_names_from_a_file(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("\ufeffcat\n\nhot dog\n", encoding="utf-8")        # as editors on Windows write
    assert class_names(3, path) == ("__background__", "cat", "hot dog")
    with pytest.raises(DataError, match="2 names, the net has 3 classes"):
        class_names(4, path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="names.txt: a binary file"):
        class_names(3, path)


def test_a_folder_may_name_its_own(tmp_path):
    assert own_classes(tmp_path) == VOC_CLASSES
    (tmp_path / "classes.txt").write_text("kite\n")
    assert own_classes(tmp_path) == ("__background__", "kite")
