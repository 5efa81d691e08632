"""caffe-mnc/README.md lists what is registered."""

import runpy
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "caffe-mnc/status_table.py"


def test_readme_is_what_the_script_writes():
    script = runpy.run_path(str(SCRIPT))
    text = script["README"].read_text()
    assert script["with_table"](text) == text, "run python caffe-mnc/status_table.py"
    assert "| ROIWarping | region.py |" in text
