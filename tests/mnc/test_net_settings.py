"""Settings beside the weights: all of cfg, read back to the same; where they are looked for."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest

from conftest import ROOT
from mnc.config import cfg, cfg_from_file, cfg_from_list
from mnc.nets.settings import find_settings, save_settings, settings_of_net, settings_path

MINI = ROOT / "models/Mini/mnc_5stage/test.prototxt"


def test_the_name_is_that_of_the_weights():
    for weights in ("out/a_iter_5.caffemodel.h5", "out/a_iter_5.caffemodel", "out/a_iter_5"):
        assert settings_path(weights) == Path("out/a_iter_5.yml")


def test_everything_comes_back_but_what_belongs_to_the_machine(tmp_path):
    cfg_from_list(["EXP_DIR", "2024", "TEST.SCALES", "(480, 600)", "COMPAT.BRIDGE_DELTAS", "exact",
                   "PIXEL_MEANS", "[1, 2.5, 3]", "EPS", "1e-9", "DATA_DIR", "/mine", "GPU_ID", 3])
    cfg.TRAIN.BATCH_SIZE = np.int64(64)                         # a script may leave such
    written = copy.deepcopy(dict(cfg))
    save_settings(tmp_path / "a.caffemodel.h5")
    cfg.TRAIN.BATCH_SIZE = 8
    cfg_from_list(["EXP_DIR", "x", "TEST.SCALES", "[1]", "COMPAT.BRIDGE_DELTAS", "reference",
                   "PIXEL_MEANS", "[0, 0, 0]", "EPS", "1", "DATA_DIR", "/other", "GPU_ID", "1"])
    cfg_from_file(tmp_path / "a.yml")
    now = dict(cfg)
    np.testing.assert_array_equal(now.pop("PIXEL_MEANS"), written.pop("PIXEL_MEANS"))
    assert now == {**written, "DATA_DIR": "/other", "GPU_ID": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.yml"]


@pytest.mark.parametrize("net, task", [("Mini", "mnc_5stage"), ("VGG16", "cfm")])
def test_the_nets_of_the_project_have_theirs(net, task):
    found = settings_of_net(ROOT / "models" / net / task / "test.prototxt")
    assert found == ROOT / "experiments/cfgs" / net / f"{task}.yml"


def test_a_prototxt_anywhere_has_none():
    for shallow in ("/test.prototxt", "/nets/test.prototxt", "/a/b/c/d/test.prototxt"):
        assert settings_of_net(shallow) is None


def test_those_beside_the_weights_go_first(tmp_path, caplog):
    caplog.set_level("INFO", "mnc")
    weights = tmp_path / "a.caffemodel.h5"
    assert find_settings([MINI], [weights]).name == "mnc_5stage.yml"
    save_settings(weights)
    assert find_settings([MINI], [weights]) == tmp_path / "a.yml"
    assert [record.levelname for record in caplog.records] == ["INFO", "INFO"]
    assert caplog.messages[1] == f"settings: {tmp_path / 'a.yml'}"


def test_where_there_are_none_the_log_says_so(tmp_path, caplog):
    assert find_settings(["a.prototxt"], [tmp_path / "a.caffemodel"]) is None
    assert "(a.yml)" in caplog.text and "the defaults hold" in caplog.text


def test_models_that_work_together_but_were_trained_otherwise(tmp_path, caplog):
    first, second = tmp_path / "a.caffemodel.h5", tmp_path / "b.caffemodel.h5"
    save_settings(first)
    save_settings(second)
    assert find_settings([MINI, MINI], [first, second]) == tmp_path / "a.yml" and not caplog.text
    cfg.TEST.NMS = 0.2
    save_settings(second)
    find_settings([MINI, MINI], [first, second])
    assert "b.yml says otherwise" in caplog.text
