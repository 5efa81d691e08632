"""What every test may use."""

from __future__ import annotations

import copy
import importlib
import logging
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

os.environ["CAFFE_KEEP_MEMORY"] = "0"      # commands run in this process, too
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"      # the tests' own servers
os.environ["OMP_NUM_THREADS"] = "1"         # of processes that tests start: the same however many processors
torch.set_num_threads(1)       # the nets are tiny: threads would only wait for each other


# The same examples in every run, however slow the machine: `make fuzz` is what looks for new ones.
settings.register_profile("same", derandomize=True, deadline=None, database=None,
                          suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("same")


def seed() -> None:
    """Every generator that is not a test's own: unseeded, the engine's would draw other weights in each run."""
    from caffe.engine.random import set_random_seed

    random.seed(3)
    np.random.seed(3)
    torch.manual_seed(3)
    set_random_seed(3)


@pytest.fixture(autouse=True)
def seeded() -> None:
    seed()


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef):
    """What several tests share is the same whichever of them comes first, and takes nothing from its draws."""
    if fixturedef.scope == "function":
        return (yield)
    from caffe.engine.random import unchanged

    with unchanged():
        seed()
        return (yield)


@pytest.fixture(autouse=True)
def restored_cfg():
    """Whatever a test sets in cfg is undone after it."""
    from mnc.config import cfg

    before = copy.deepcopy(dict(cfg))
    yield
    for key, value in before.items():
        if isinstance(value, dict):
            cfg[key].update(value)         # in place: modules may hold the section
        else:
            cfg[key] = value


@pytest.fixture(autouse=True)
def packed_however_small(monkeypatch) -> None:
    """The tests' nets are tiny: their weights are packed all the same."""
    monkeypatch.setattr("caffe.layer_types.packed.SMALL", 0)
    monkeypatch.setattr("caffe.layer_types.packed.SMALL_OF_PIXELS", 0)


LOG_LEVELS = {"mnc": logging.NOTSET, "caffe": logging.INFO}       # as a fresh import leaves them


@pytest.fixture(autouse=True)
def fresh_log() -> None:
    """What a command or a fixture of a module let the log say is undone before each test."""
    for name, level in LOG_LEVELS.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture(scope="module", params=("kernels", "references"))
def served_by(request) -> Iterator[str]:
    """The test runs twice: with the native kernels of the operators, and with their references."""
    from caffe import ops

    with ops.references() if request.param == "references" else nullcontext():
        yield request.param


@pytest.fixture
def browser(tmp_path) -> list[str]:
    """The command of a browser without a window, with a profile of its own; a skip where there is none."""
    found = [*filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))]
    if not found:
        pytest.skip("no browser here (chromium)")
    return [found[0], "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'browser'}",
            "--disable-dev-shm-usage"]          # which is small in a container


@pytest.fixture
def dom_of(browser) -> Callable[[Path], str]:
    """Path of a page -> the page as the browser has it once its scripts have run."""
    def dom_of(path):
        done = subprocess.run([*browser, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout
    return dom_of


@pytest.fixture(scope="session")
def real_material() -> Path:
    """Folder with real photographs, annotations and models, if it lies beside the checkout."""
    folder = ROOT.parent / "shared" / "real"
    if not folder.is_dir():
        pytest.skip(f"no real material at {folder}")
    return folder


@pytest.fixture(scope="session")
def torchvision_models():
    """torchvision.models; a skip where it is not installed.

    Where its C++ part is of another build than torch (CUDA's, beside a torch for CPUs), its operators are
    declared without a kernel: the classifiers call none of them.
    """
    declared = []
    for _ in range(4):
        try:
            yield importlib.import_module("torchvision.models")
            return
        except ModuleNotFoundError as error:
            pytest.skip(f"torchvision is not installed ({error})")
        except RuntimeError as error:
            lacking = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if lacking is None:
                pytest.skip(f"torchvision cannot be imported: {error}")
            declared.append(torch.library.Library("torchvision", "FRAGMENT"))
            declared[-1].define(f"{lacking[1]}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
                del sys.modules[name]
    pytest.skip("torchvision cannot be imported beside this torch")


@pytest.fixture(scope="session")
def tiny_scenes(tmp_path_factory) -> Path:
    """A folder in the SBD layout: 6 scenes to train on, 3 to test on."""
    from mnc.data import scenes

    return Path(scenes.draw(tmp_path_factory.mktemp("scenes") / "tiny", seed=5, train=6, val=3))


def tiny_sizes():
    """Mini's wiring, few weights, 6 classes."""
    from mnc.nets.backbones import NETS, Conv, Pool

    small = (Conv("1_1", 4, kernel=5, stride=2), Pool("2"), Conv("3_1", 6), Pool("3"),
             Conv("5_3", 6))
    return replace(NETS["Mini"], backbone=small, rpn=8, mask_hidden=4, fc6=8, fc7=8)


@pytest.fixture(scope="session")
def tiny_net(tmp_path_factory):
    """task -> folder with train, test and solver.prototxt of the tiny net."""
    from mnc.nets.generate import TASKS, net_texts
    from mnc.nets.solvers import solver

    def write(task: str) -> Path:
        folder = tmp_path_factory.mktemp("model") / task
        folder.mkdir()
        texts = net_texts("Mini", task, replace(tiny_sizes(), **TASKS[task].changes))
        for name, text in {**texts, "solver": solver("Mini", task, folder)}.items():
            (folder / f"{name}.prototxt").write_text(text)
        return folder
    return write


@pytest.fixture(scope="session")
def tiny_model(tiny_net) -> Path:
    """The folder of the tiny five-stage cascade."""
    return tiny_net("mnc_5stage")


@pytest.fixture
def mini_cfg():
    """cfg as experiments/cfgs/Mini/mnc_5stage.yml sets it, with few proposals."""
    from mnc.config import cfg, cfg_from_file

    cfg_from_file(ROOT / "experiments/cfgs/Mini/mnc_5stage.yml")
    cfg.TRAIN.RPN_POST_NMS_TOP_N = cfg.TEST.RPN_POST_NMS_TOP_N = 20
    return cfg


@pytest.fixture
def no_values(monkeypatch):
    """Parameters get a shape but no memory: some nets of others have half a gigabyte of them."""
    from caffe.engine.blob import Blob

    monkeypatch.setattr("caffe.engine.caffe_layer.fill", lambda tensor, filler: None)
    monkeypatch.setattr(Blob, "tensor", property(
        lambda self: self._data.read().reshape(self._shape) if self.count < 1e6 else None,
        Blob.tensor.fset))
