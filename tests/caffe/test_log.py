"""Log lines: glog's form, its environment variables, and the scripts that parse them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

LOG = Path(__file__).parents[2] / "caffe-mnc/python/caffe/engine/log.py"
LINE = re.compile(r"[IWEF]\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ <string>:\d+\] (.*)")
SPEAK = "log.info('one %d', 1); log.warning('two'); log.error('three')"


def say(code: str = SPEAK, **environment: str) -> str:
    """What a new interpreter writes to stderr, with log.py loaded by itself (torch is slow)."""
    load = (f"import importlib.util as u; spec = u.spec_from_file_location('log', {str(LOG)!r}); "
            f"log = u.module_from_spec(spec); spec.loader.exec_module(log); ")
    env = {k: v for k, v in os.environ.items() if not k.startswith("GLOG_")}
    done = subprocess.run([sys.executable, "-c", load + code], capture_output=True, text=True,
                          check=True, env={**env, **environment})
    assert done.stdout == ""
    return done.stderr


def texts(output: str) -> list[str]:
    return [LINE.fullmatch(line)[1] for line in output.splitlines()]


def test_lines_have_glogs_form_and_go_to_stderr():
    output = say()
    assert texts(output) == ["one 1", "two", "three"]
    assert [line[0] for line in output.splitlines()] == ["I", "W", "E"]


@pytest.mark.parametrize("level, kept", [("0", 3), ("1", 2), ("2", 1), ("3", 0)])
def test_minloglevel_drops_lesser_lines(level, kept):
    assert len(texts(say(GLOG_minloglevel=level))) == kept


def test_log_dir_adds_a_file(tmp_path):
    assert len(texts(say(GLOG_log_dir=str(tmp_path)))) == 3
    assert len(texts((tmp_path / "-c.INFO").read_text())) == 3


def test_logtostderr_means_no_file(tmp_path):
    say(GLOG_log_dir=str(tmp_path), GLOG_logtostderr="1")
    assert not list(tmp_path.iterdir())


def test_a_script_with_logging_of_its_own_gets_each_line_once():
    assert len(texts(say("import logging; logging.basicConfig(level=10); " + SPEAK))) == 3


def test_stderr_may_be_redirected_after_the_import(capsys):
    from caffe.engine import log
    log.warning("to %s", "here")
    assert capsys.readouterr().err.endswith("] to here\n")
