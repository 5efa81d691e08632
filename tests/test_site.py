"""The documentation as a site: it builds without a warning, has every layer, and no broken link."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    pytest.importorskip("material", reason="the extra [docs] is not installed")
    pytest.importorskip("mkdocstrings")
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)],
                          cwd=ROOT, capture_output=True, text=True, timeout=1800,
                          env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": ":".join(sys.path)})
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_every_layer_and_command_has_its_place(site):
    from caffe.extend import LAYERS
    from mnc.commands.registration import COMMANDS

    assert len([name for name in LAYERS.names() if (site / "layers" / name).is_dir()]) > 120
    for page in (site / "layers").glob("*/index.html"):
        assert 'id="example"' in page.read_text() and "gradient" in page.read_text(), page
    page = (site / "layers/Pooling/index.html").read_text()
    assert re.search(r"top0: 2 x 3 x \d x \d", page)
    assert "pooling_param" in page and "round_mode" in page and "finite differences" in page
    commands = (site / "reference/commands/index.html").read_text()
    assert all(f"mnc {name}" in commands for name in COMMANDS)
    assert "Segmenter" in (site / "reference/mnc/index.html").read_text()


def test_no_link_is_broken_and_nothing_is_fetched(site):
    broken, fetched = set(), set()
    for page in site.rglob("*.html"):
        text = page.read_text()
        fetched |= set(re.findall(r'(?:src|rel="stylesheet" href)="(https?://[^"]+)', text))
        for link in re.findall(r'(?:href|src)="(?!https?:|mailto:|data:|#)([^"#]*)', text):
            place = page.parent / unquote(unescape(link))
            if page.name != "404.html" and not (place.is_file() or (place / "index.html").is_file()):
                broken.add((str(page.relative_to(site)), link))
    assert not broken and not fetched
