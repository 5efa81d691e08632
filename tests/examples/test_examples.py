"""Every example runs and keeps what it promises (they assert it); notebooks are the scripts."""

from __future__ import annotations

import importlib.util
import json
import runpy
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from caffe.extend import LAYERS

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples"
spec = importlib.util.spec_from_file_location("example_notebooks", FOLDER / "notebooks.py")
notebooks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(notebooks)
# those that others begin with come first
PICTURES = {"train_lenet": "lenet/digits.png", "fine_tuning": "letters/accuracy.png",
            "feature_extraction": "lenet/neighbours.png", "siamese": "siamese/plane.png",
            "own_images": "own/pictures/two.png"}
ORDER = ["train_lenet", *sorted({path.stem for path in notebooks.examples()} - {"train_lenet"})]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    pytest.importorskip("lmdb")
    return tmp_path_factory.mktemp("examples")


@pytest.mark.parametrize("name", ORDER)
def test_an_example(name, place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setenv("PYTHONPATH", ":".join([str(ROOT / "caffe-mnc/python"), str(ROOT / "lib")]))
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--iters", "30"])       # own_images takes it
    before = set(LAYERS.names())
    try:
        runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    finally:
        for kind in set(LAYERS.names()) - before:
            LAYERS.remove(kind)
        plt.close("all")
    assert name not in PICTURES or (place / "output/examples" / PICTURES[name]).stat().st_size > 2000


def test_notebooks_are_the_scripts():
    for path in notebooks.examples():
        known = json.loads(path.with_suffix(".ipynb").read_text())
        assert known == notebooks.notebook(path.read_text()), f"{path.name}: run examples/notebooks.py"
        code = "\n".join("".join(cell["source"]) for cell in known["cells"] if cell["cell_type"] == "code")
        compile(code, path.name, "exec")


def test_the_list_of_examples_is_whole():
    text = (FOLDER / "README.md").read_text()
    assert all(f"({path.name})" in text for path in notebooks.examples())
