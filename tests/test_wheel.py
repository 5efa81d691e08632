"""The wheel: built from the checkout, installed elsewhere, it has all that a user needs."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "NOTICE", "caffe-mnc/python",
           "caffe-mnc/site", "caffe-mnc/src", "lib", "models", "experiments/cfgs", "data/demo")

NET = """
layer { name: "data" type: "Input" top: "scores" input_param { shape { dim: 1 dim: 18 dim: 2 dim: 3 } } }
layer { name: "data2" type: "Input" top: "deltas" input_param { shape { dim: 1 dim: 36 dim: 2 dim: 3 } } }
layer { name: "info" type: "Input" top: "im_info" input_param { shape { dim: 1 dim: 3 } } }
layer { name: "proposal" type: "Python" bottom: "scores" bottom: "deltas" bottom: "im_info" top: "rois"
  python_param { module: "pylayer.proposal_layer" layer: "ProposalLayer" param_str: "'feat_stride': 16" } }
"""
TRAINED = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 3 dim: 5 } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 5 } }
layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "data" top: "loss" }
"""
SOLVER = 'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 2 snapshot_prefix: "elsewhere"'
CHECK = """
import sys, caffe, mnc
from pathlib import Path
net = caffe.Net("net.prototxt", caffe.TEST)
net.blobs["im_info"].data[...] = 32, 48, 1
net.forward()
assert net.blobs["rois"].shape[1] == 5
for package in (caffe, mnc, sys.modules["pylayer"]):
    print(Path(package.__path__[0]).resolve().parent)
"""
KERNELS = """
from caffe import ops
print(ops.native._native.__file__)
print(ops.sources())
"""


def run(*argv: str, cwd: Path, **env: str) -> str:
    done = subprocess.run([sys.executable, *argv], cwd=cwd, capture_output=True, text=True,
                          timeout=1800, env={**os.environ, "PYTHONPATH": "", **env})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The sources, to build there: the checkout stays clean."""
    copy = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name,
                            ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        elif source.exists():
            shutil.copy(source, copy / name)
    return copy


@pytest.fixture(scope="module")
def wheel(copy, tmp_path_factory) -> Path:
    pytest.importorskip("setuptools", "77")
    out = tmp_path_factory.mktemp("wheel")
    run("-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q", "-w", str(out),
        str(copy), cwd=out)
    found, = out.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    run("-m", "pip", "install", "--no-deps", "--no-index", "-q", "--target", str(target),
        str(wheel), cwd=target)
    return target


def test_every_module_is_in_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    for folder in ("caffe-mnc/python", "lib"):
        here = {path.relative_to(ROOT / folder).as_posix() for path in (ROOT / folder).rglob("*.py")}
        assert here <= inside, sorted(here - inside)
    assert "caffe/proto/caffe.proto" in inside
    assert not [name for name in inside if name.startswith(("tests", "tools"))]


def test_the_kernels_are_in_the_wheel(wheel, installed, tmp_path):
    """Built ones for the CPU, and for GPUs the sources, which are compiled where they run."""
    assert "none-any" not in wheel.name
    places = run("-c", KERNELS, cwd=tmp_path, PYTHONPATH=str(installed)).splitlines()
    assert all(Path(place).is_relative_to(installed.resolve()) for place in places)
    here = {path.name for path in (ROOT / "caffe-mnc/src/ops").iterdir()
            if path.suffix in (".cu", ".hpp")}
    assert here <= {path.name for path in Path(places[1]).iterdir()}


def test_without_a_compiler_the_rest_is_built(copy, tmp_path):
    run("setup.py", "-q", "build", "--build-base", str(tmp_path), "--build-lib",
        str(tmp_path / "lib"), cwd=copy, CC="/no/compiler", CXX="/no/compiler")
    assert (tmp_path / "lib/caffe/ops/native.py").exists()
    assert not list(tmp_path.rglob("_native.*.so"))


def test_nets_with_pylayers_run_elsewhere(installed, tmp_path):
    (tmp_path / "net.prototxt").write_text(NET)
    places = run("-c", CHECK, cwd=tmp_path, PYTHONPATH=str(installed)).split()
    assert places == [str(installed.resolve())] * 3


FIRST_HOUR = """
from pathlib import Path
from mnc import Segmenter, cli
from mnc.project import project_file

few = "TEST.RPN_POST_NMS_TOP_N", 30
found = Segmenter("Mini", settings=dict([few]))(str(project_file("data", "demo", "scene_0.jpg")))
assert {each.name for each in found} <= {"agate", "beryl", "coral", "garnet", "opal"}, found
assert found[0].score > 0.7
assert cli.main(["demo", "--cpu", "--out", "pictures", "--set", *map(str, few)]) == 0
assert len(list(Path("pictures").glob("*.jpg"))) == 4
assert cli.main(["train", "--cpu", "--net", "Mini", "--imdb", "sbd:none:train"]) == 1
"""


def test_the_nets_and_the_demo_come_along(installed, tmp_path):
    """Outside a checkout: a net by its name, its settings and weights, the demo's images."""
    run("-c", FIRST_HOUR, cwd=tmp_path, PYTHONPATH=str(installed))


LEGACY = {
    "whole": {"__init__.py": "from .pycaffe import Net", "pycaffe.py": "from ._caffe import Net"},
    "part": {"__init__.py": "import caffe.io", "imagenet/mean.txt": ""},
    "folder": {"imagenet/mean.txt": ""},
}
SCRIPT = """import sys
caffe_root = {root!r}
sys.path.insert(0, caffe_root + 'python')
import caffe
print(caffe.Net, caffe.__file__)
"""
# as a fresh environment: what this one has installed in editable form is not found
START = """import os, runpy, site, sys
sys.meta_path[:] = [f for f in sys.meta_path if not hasattr(f, "__module__") or "editable" not in f.__module__]
for name in [name for name in sys.modules if "editable" in name]:
    del sys.modules[name]
sys.path[:] = [{place!r}, *(entry for entry in sys.path if entry not in {ours!r})]
site.addsitedir({place!r})
runpy.run_path("deploy.py", run_name="__main__")
"""


@pytest.fixture(scope="module")
def editable(copy, tmp_path_factory) -> Path:
    """What an editable install puts into site-packages."""
    out, place = tmp_path_factory.mktemp("editable"), tmp_path_factory.mktemp("site")
    run("setup.py", "-q", "editable_wheel", "--dist-dir", str(out), cwd=copy, CC="/no/compiler",
        CXX="/no/compiler")
    zipfile.ZipFile(next(out.glob("*.whl"))).extractall(place)
    return place


@pytest.mark.parametrize("form", ["installed", "editable"])
@pytest.mark.parametrize("legacy", LEGACY)
def test_a_legacy_tree_before_ours_is_named_or_does_not_matter(form, legacy, request, tmp_path):
    place = request.getfixturevalue(form)
    for name, text in LEGACY[legacy].items():
        path = tmp_path / "old/python/caffe" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "deploy.py").write_text(SCRIPT.format(root=f"{tmp_path}/old/"))
    start = START.format(place=str(place), ours=[str(ROOT / "caffe-mnc/python"), str(ROOT / "lib")])
    done = subprocess.run([sys.executable, "-c", start], cwd=tmp_path, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": ""})
    if legacy == "folder":
        assert done.returncode == 0 and "engine.net.net.Net" in done.stdout, done.stderr
        return
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ") and f"{tmp_path}/old/python/caffe" in last
    assert "deploy.py:3: sys.path.insert(0, caffe_root + 'python')" in last
    own = place if form == "installed" else request.getfixturevalue("copy") / "caffe-mnc/python"
    assert str((own / "caffe").resolve()) in last


def test_caffe_trains_elsewhere(installed, tmp_path):
    (tmp_path / "net.prototxt").write_text(TRAINED)
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    run("-m", "caffe", "train", "--solver=solver.prototxt", cwd=tmp_path, PYTHONPATH=str(installed))
    assert (tmp_path / "elsewhere_iter_2.caffemodel").exists()


def test_commands_run_elsewhere(installed, tmp_path):
    metadata, = installed.glob("mnc_caffe-*.dist-info")
    scripts = configparser.ConfigParser()
    scripts.read(metadata / "entry_points.txt")
    names = {name for name, _ in scripts["console_scripts"].items()}
    assert {"caffe", "mnc", "convert_imageset", "parse_log", "upgrade_net_proto_text"} <= names
    check = "; ".join(f"from {target.split(':')[0]} import {target.split(':')[1]} as main"
                      for _, target in scripts["console_scripts"].items())
    run("-c", check, cwd=tmp_path, PYTHONPATH=str(installed))
    text = run("-m", "caffe", "--version", cwd=tmp_path, PYTHONPATH=str(installed))
    assert re.fullmatch(r"caffe version [\d.]+\n", text)
