"""Two hundred photographs of twelve megapixels: read, prepared, drawn and written in little memory."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys
from pathlib import Path

import cv2
import numpy as np

from caffe.extend import keep_freed_memory
from mnc.commands.demo_images import Finder, draw_files
from mnc.config import cfg
from mnc.data.images import prepare_image
from mnc.instances import Instances

cv2.setNumThreads(1)
keep_freed_memory()                     # as the command does
out, number = Path(sys.argv[1]), int(sys.argv[2])
cv2.imwrite(str(out / "a.jpg"), np.full((3000, 4000, 3), 90, np.uint8))
seen = Instances(np.array([[100, 200, 1500, 900, 0.9], [2000, 50, 3999, 1100, 0.8]]), np.eye(21)[None].repeat(2, 0),
                 np.array([1, 1]))


def find(image, score):
    assert prepare_image(image, cfg.PIXEL_MEANS, 600, 1000)[0].shape == (600, 800, 3)
    return seen


assert not draw_files(Finder(find, ("background", "cat"), 0.4), [out / "a.jpg"] * number, out / "pictures")
print([line.split()[1] for line in Path("/proc/self/status").read_text().splitlines()
       if line.startswith("VmHWM")][0])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_200_photographs_take_less_than_1200_megabytes(tmp_path):
    """Kept in memory they would be 7 GB, and as many again of pictures of them."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path), "200"], text=True,
                          capture_output=True, timeout=900, env={**os.environ, "CAFFE_KEEP_MEMORY": "1"})
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) < 1_200_000             # kilobytes
    assert len(list((tmp_path / "pictures" / "thumbnails").iterdir())) == 200
    assert (tmp_path / "pictures" / "index.html").stat().st_size < 200_000
