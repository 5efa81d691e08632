"""Cascades in 8 bits: the images they are calibrated with, the flags, what they then find."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

import caffe
from caffe.ops.int8 import int8_computable
from mnc import Segmenter
from mnc.cli import main
from mnc.config import ConfigError, overridden
from mnc.data import DataError, get_dataset
from mnc.inference import InferenceError, TestSettings, load_net, segment_image
from mnc.inference import calibration as module
from mnc.inference.calibration import Calibration, Drawn, arithmetic
from mnc.inference.networks import net_inputs
from mnc.project import project_file

MINI = project_file("models", "Mini", "mnc_5stage", "test.prototxt")
WEIGHTS = MINI.with_name("mini_mnc_5stage.caffemodel.h5")

needs_int8 = pytest.mark.skipif(not int8_computable(), reason="no 8-bit products in this torch")


@pytest.fixture
def folder(tmp_path):
    """Five grey images of different sizes, the darker the earlier, and a text."""
    for i in range(5):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((30 + i, 40, 3), 50 * i, np.uint8))
    (tmp_path / "notes.txt").write_text("not an image")
    return tmp_path


def test_images_of_a_folder_a_pattern_a_file_and_a_data_set(folder, tiny_scenes, monkeypatch):
    assert [image[0, 0, 0] for image in Drawn(str(folder))] == [0, 50, 100, 150, 200]
    assert len(list(Drawn(f"{folder}/[12].png"))) == 2
    assert len(list(Drawn(f"{folder}/3.png"))) == 1
    assert len(list(Drawn(f"sbd:{tiny_scenes}:train"))) == 6
    monkeypatch.setattr(module, "MOST_IMAGES", 3)
    drawn = Drawn(str(folder))
    assert [image[0, 0, 0] for image in drawn] == [0, 100, 200]         # evenly, and again
    assert len(list(drawn)) == 3


def test_what_names_no_images_is_said(folder):
    with pytest.raises(DataError, match="--calibrate scenes_trian: no such file or folder, nor a "
                                        "data set: .*did you mean .scenes_train"):
        Drawn("scenes_trian")
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match="no image in"):
        Drawn(str(folder / "empty"))


def test_the_configuration_names_them(mini_cfg, folder):
    assert Calibration.of(mini_cfg) is None
    with overridden({"TEST.PRECISION": "int8"}), \
            pytest.raises(ConfigError, match="--calibrate .TEST.CALIBRATE. takes a data set or a"):
        Calibration.of(mini_cfg)
    with overridden({"TEST.PRECISION": "int8", "TEST.CALIBRATE": str(folder)}):
        assert arithmetic(mini_cfg)["precision"] == "int8"
        assert len(list(arithmetic(mini_cfg)["calibration"].images)) == 5
    with overridden({"TEST.CALIBRATE": "nothing that is looked for"}):
        assert arithmetic(mini_cfg)["calibration"] is None


def test_a_net_sees_them_as_a_test_shows_them(mini_cfg, folder, tiny_model):
    net = caffe.Net(str(tiny_model / "test.prototxt"), caffe.TEST)
    settings = TestSettings.of(mini_cfg)
    images = list(Drawn(str(folder)))
    for image, given in zip(images, Calibration(images, settings).inputs(net, net_inputs)):
        wanted, _ = net_inputs(image, settings)
        assert given.keys() == {"data", "im_info"}
        np.testing.assert_array_equal(given["data"], wanted["data"])
    with overridden({"TEST.TILES": 20}):
        tiled = Calibration(images, TestSettings.of(mini_cfg))
        shapes = {given["data"].shape[2] == given["data"].shape[3]
                  for given in tiled.inputs(net, net_inputs)}
        assert shapes == {True}                 # a square tile of each


def test_nets_of_given_regions_are_refused(tiny_net, mini_cfg, folder):
    net = caffe.Net(str(tiny_net("cfm") / "test.prototxt"), caffe.TEST)
    given = Calibration(list(Drawn(str(folder))), TestSettings.of(mini_cfg))
    with pytest.raises(InferenceError, match="given images alone"):
        next(given.inputs(net, net_inputs))


@needs_int8
def test_minis_instances_in_8_bits_are_nearly_those_in_float32(mini_cfg, tiny_scenes):
    data = get_dataset(f"sbd:{tiny_scenes}:val")
    drawn = Drawn(f"sbd:{tiny_scenes}:train")
    settings = TestSettings.of(mini_cfg)
    exact = load_net(MINI, WEIGHTS)
    fast = load_net(MINI, WEIGHTS, "int8", calibration=Calibration(drawn, settings))
    near = count = 0
    for i in range(len(data)):
        wanted, found = (segment_image(net, data.image(i), settings) for net in (exact, fast))
        for one, other in zip(wanted[1:], found[1:]):
            sure = one.boxes[one.boxes[:, 4] > 0.8]
            count += len(sure)
            near += sum(bool(len(other.boxes)) and
                        np.abs(other.boxes[:, :4] - box[:4]).max(1).min() < 4 for box in sure)
    assert count >= 3 and near >= 0.9 * count
    steps = fast._optimized._plan.steps
    names = {step.layer.name for step in steps if type(step.compute).__name__ == "InLevels"}
    assert {"conv1_1", "conv5_3", "rpn_conv_3x3", "fc6", "fc7_mask_ext"} <= names
    assert not names & {"cls_score", "mask_pred", "rpn_bbox_pred", "bbox_pred_ext"}


@needs_int8
def test_a_segmenter_takes_it_among_its_settings(tiny_scenes):
    own = {"TEST.PRECISION": "int8", "TEST.CALIBRATE": str(tiny_scenes / "img")}
    segment = Segmenter("Mini", settings=own)
    path = sorted((tiny_scenes / "img").glob("*.jpg"))[0]
    assert segment(path)


@needs_int8
def test_the_flags_of_a_test(tiny_scenes, tmp_path, capsys):
    command = ["test", "--net", "Mini", "--imdb", f"sbd:{tiny_scenes}:val", "--cpu", "--out",
               str(tmp_path / "out"), "--precision"]
    assert main([*command, "int8"]) == 1
    assert "precision int8 needs images such as the net will see: --calibrate" in \
        capsys.readouterr().err
    assert main([*command, "bf16", "--calibrate", "scenes_train"]) == 1
    assert "error: --calibrate is for --precision int8" in capsys.readouterr().err
    assert main([*command, "int8", "--calibrate", f"sbd:{tiny_scenes}:train"]) == 0
    assert "AP^r@0.5" in capsys.readouterr().out


@needs_int8
def test_results_calibrated_with_other_images_are_not_reused(tiny_scenes, folder, capsys):
    command = ["test", "--net", "Mini", "--imdb", f"sbd:{tiny_scenes}:val", "--cpu", "--reuse",
               "--out", str(folder / "out"), "--precision", "int8", "--calibrate", str(folder)]
    assert main(command) == main(command) == 0
    assert "is reused" in capsys.readouterr().out
    cv2.imwrite(str(folder / "3.png"), np.full((50, 50, 3), 7, np.uint8))
    assert main(command) == 0
    assert "calibration_sha256" in capsys.readouterr().out


def test_training_has_no_such_precision(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--precision", "int8"])
    assert "invalid choice: 'int8'" in capsys.readouterr().err
