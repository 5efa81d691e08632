"""Files of strangers: damaged, hostile and odd ones end in one error of ours, or are read.

inputs.zip holds what once ended the process, hung it, or took its memory: small files made by hand
(odd/) and by fuzzing (fuzz/; the name begins with the reader). readers.py reads them in a process
of its own under a limit of memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

HERE = Path(__file__).parent
KINDS = ("coco", "coco_results", "regions", "raw_regions", "sbd", "maps", "images", "load_image",
         "datums", "configurations", "weights", "states", "hdf5_data", "nets",
         "nets_that_train")
OURS = ("mnc.data.dataset.DataError", "mnc.config.ConfigError", "caffe.engine.errors.",
        "builtins.ValueError", "caffe.engine.formats.hdf5.Hdf5Error")
SECONDS, MEGABYTES = 20, 1300       # of the processor; the process itself takes some 300 MB
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}      # however many processors there are


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """{kind: lines of readers.py}, and how the process ended."""
    inputs = tmp_path_factory.mktemp("hostile")
    with zipfile.ZipFile(HERE / "inputs.zip") as archive:
        archive.extractall(inputs)
    done = subprocess.run([sys.executable, HERE / "readers.py", inputs, *KINDS],
                          capture_output=True, text=True, timeout=1800, cwd=inputs,
                          env={**os.environ, **ONE_THREAD})
    found = {kind: [] for kind in KINDS}
    for line in done.stdout.splitlines():
        if line.startswith('{"kind"'):
            found[json.loads(line)["kind"]].append(json.loads(line))
    last = done.stdout.splitlines()[-1:]
    assert done.returncode == 0, f"{last}\n{done.stderr[-2000:]}"
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_each_is_read_or_one_error_of_ours(outcomes, kind):
    ends = [line for line in outcomes[kind] if "began" not in line]
    assert ends
    for line in ends:
        assert not line["error"] or line["error"].startswith(OURS), line
        assert line["seconds"] < SECONDS and line["megabytes"] < MEGABYTES, line
