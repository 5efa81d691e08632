"""A little of what `make fuzz`, `make kill` and `make soak` do at length (docs/reliability.md)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc, forks")


def run(script: str, *argv: str, **env: str) -> str:
    done = subprocess.run([sys.executable, str(ROOT / "tests" / script), *argv], text=True,
                          capture_output=True, timeout=1200, env={**os.environ, **env})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_damaged_and_hostile_files_end_in_errors_of_ours(tmp_path):
    text = run("fuzz/fuzz.py", "--seconds", "6", "--seed", "1", "--found", str(tmp_path))
    assert " 0 findings" in text


def test_the_fuzzer_finds_what_it_is_for(tmp_path):
    """Signals, hangs, memory and foreign exceptions of a reader."""
    (tmp_path / "probe.py").write_text(f"""
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {str(ROOT / "tests/fuzz")!r})
import fuzz
from fuzz_targets import Target
def read(path):
    data = path.read_bytes()
    if data == b"die": os.kill(os.getpid(), signal.SIGSEGV)
    if data == b"hang": time.sleep(600)
    while data == b"spin": pass
    if data == b"eat": bytearray(3 << 30)
    if data == b"leak": [][0]
    if data == b"say": raise fuzz.caffe.CaffeError("said")
fuzz.TARGETS["probe"] = Target(read, lambda: [b"x"])
found = fuzz.Findings(Path("found"))
for data in (b"die", b"hang", b"spin", b"eat", b"leak", b"say", b"good"):
    fuzz.PATIENCE = 0.3 if data in (b"hang", b"spin") else 60
    fuzz.watch("probe", iter([data]), time.monotonic() + 600, found)
print(*sorted(f"{{reason}} x {{times}}" for (_, reason), times in found.reasons.items()), sep="; ")
""")
    done = subprocess.run([sys.executable, "probe.py"], cwd=tmp_path, text=True, capture_output=True)
    assert done.stdout.splitlines()[-1] == ("IndexError at ? x 1; MemoryError at ? x 1; "
                                            "ended by SIGSEGV x 1; hung for 0.3 s x 2"), done.stderr


def test_trainings_that_are_killed_end_with_the_weights_of_an_undisturbed_one():
    text = run("long/kill.py", "--kills", "2", "lmdb", "images")
    assert len(re.findall(r"  1 kills, .*: bit-equal", text)) == 2


@pytest.mark.parametrize("given, kept", [({}, "128"), ({"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "7"}, "7")])
def test_few_compiled_kernels_are_kept(given, kept):
    """1024, as by default, make half a gigabyte of images of many sizes."""
    code = "import os, caffe; print(os.environ['ONEDNN_PRIMITIVE_CACHE_CAPACITY'])"
    env = {name: value for name, value in os.environ.items() if not name.startswith("ONEDNN")}
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True,
                          env={**env, "PYTHONPATH": f"{ROOT}/caffe-mnc/python", **given})
    assert done.stdout.strip() == kept, done.stderr
