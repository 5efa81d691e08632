"""Commands keep freed memory; who does not want that is asked first."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import pytest

SCRIPT = """
from caffe.engine.allocator import keep_freed_memory
import numpy as np

def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024

kept, before = keep_freed_memory(), resident()
block = np.ones(8_000_000)              # 61 MB
del block
print(kept, resident() - before > 50)
"""

glibc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the allocator of Linux")


def run(**settings):
    environment = {k: v for k, v in os.environ.items()
                   if not k.startswith("MALLOC_") and k != "CAFFE_KEEP_MEMORY"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    return subprocess.run([sys.executable, "-c", SCRIPT], env={**environment, **settings},
                          capture_output=True, text=True, check=True).stdout.split()


@glibc
def test_freed_memory_stays_with_the_process():
    assert run() == ["True", "True"]


@glibc
@pytest.mark.parametrize("settings", ({"CAFFE_KEEP_MEMORY": "0"},
                                      {"MALLOC_TRIM_THRESHOLD_": "131072"}))
def test_the_user_may_decide_otherwise(settings):
    assert run(**settings) == ["False", "False"]


@pytest.mark.parametrize("asks, command, arguments", [
    ("caffe.cli", "caffe.cli", ["device_query"]),
    ("mnc.commands.session", "mnc.cli", ["make_mask_init", "no.caffemodel"])])
def test_the_commands_ask_for_it(asks, command, arguments, monkeypatch):
    asked = []
    monkeypatch.setattr(f"{asks}.keep_freed_memory", lambda: asked.append(True))
    importlib.import_module(command).main(arguments)
    assert asked
