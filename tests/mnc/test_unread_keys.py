"""Keys that nothing reads: silence where they say what is so anyway, else a warning with why."""

from __future__ import annotations

import re

import pytest

from caffe.engine.formats.prototxt import read_net
from conftest import ROOT
from mnc.config import DEFAULTS, cfg_from_file, cfg_from_list, value_of
from mnc.nets.fit import check_net
from mnc.nets.unread_keys import UNREAD, warn_of_unread_keys

CASCADE, CFM = (ROOT / f"models/VGG16/{task}/test.prototxt" for task in ("mnc_5stage", "cfm"))


def warn(path):
    warn_of_unread_keys(read_net(str(path)), path)


@pytest.mark.parametrize("key, value, why", [
    ("EPS", "1e-6", "1e-06, which has no effect on .*: it was added to counts"),
    ("CFM_MODE", "True", "in this one it is an RPN"), ("TRAIN.HAS_RPN", "False", "RPN"),
    ("TEST.HAS_RPN", "False", "RPN"), ("TRAIN.PROPOSAL_METHOD", "rpn", "true instances")])
def test_another_value_than_the_default_is_told(caplog, key, value, why):
    cfg_from_list([key, value])
    warn(CASCADE)
    assert len(caplog.records) == 1
    assert re.search(rf"^{key} is .*{why}", caplog.messages[0]) and str(CASCADE) in caplog.text


def test_defaults_are_silent(caplog):
    warn(CASCADE)
    warn(CFM)
    assert not caplog.text


@pytest.mark.parametrize("phase", ["train", "test"])
def test_the_configuration_of_cfm_is_silent_for_cfm(caplog, phase):
    cfg_from_file(ROOT / "experiments/cfgs/VGG16/cfm.yml")
    warn(CFM.with_name(f"{phase}.prototxt"))
    assert not caplog.text
    warn(CASCADE)
    assert [text.split()[0] for text in caplog.messages] == ["CFM_MODE", "TRAIN.HAS_RPN"]


def test_training_and_testing_look(caplog):
    cfg_from_list(["EPS", "1.0"])
    check_net(CASCADE, range(21))
    assert "EPS is 1.0" in caplog.text


def test_nothing_reads_them():
    """Whoever makes one of them count must take it from the list."""
    code = "".join(path.read_text() for folder in ("lib", "tools")
                   for path in (ROOT / folder).rglob("*.py")
                   if path.name not in ("config.py", "unread_keys.py"))
    for key in UNREAD:
        assert value_of(key, DEFAULTS) is not None
        assert not re.search(rf"\b{key.split('.')[-1]}\b", code), key
