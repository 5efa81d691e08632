"""Layer types of other packages: messages, text, weights, commands (docs/new_layers.md)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import caffe
import caffe.testing
from caffe import layers as L
from caffe.engine import plugins
from caffe.engine.formats import extensions
from caffe.engine.formats.prototxt import read_net
from caffe.extend import LAYERS, CaffeError, TorchLayer, exactly
from caffe.proto import caffe_pb2

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs/new_layers.md").read_text()


def define(kind: str, params=None):
    class Scaled(TorchLayer):
        num_bottom = num_top = exactly(1)

        def setup(self, bottom, top):
            self.add_blob((bottom[0].shape[1],), caffe_pb2.FillerParameter(value=2))

        def compute(self, x, factor):
            return x * factor[:, None] * (self.options.by if params else 1)

    return caffe.register_layer(kind, params)(Scaled)


@pytest.fixture(scope="module", autouse=True)
def scaled():
    """Types "TimesUpTo" with options and "PlainTimes" without; protobuf keeps a name for good."""
    define("TimesUpTo", {"by": 3.0, "mode": ("SUM", "MAX"), "sizes": [int], "on": True, "n": int,
                         "filler": caffe_pb2.FillerParameter})
    define("PlainTimes")
    yield
    for kind in ("TimesUpTo", "PlainTimes"):
        LAYERS.remove(kind)
        extensions.forget(kind)


NET = """
# times_up_to_param { this is a comment }
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 dim: 3 } } }
layer { name: "x" type: "TimesUpTo" bottom: "data" top: "y"
        times_up_to_param { by: 5 mode: MAX sizes: 4 sizes: 5 filler { type: "msra" } } }
"""


def test_a_net_with_the_type_builds_and_keeps_its_options(tmp_path):
    net = caffe.Net.from_proto(read_net(NET), caffe.TEST)
    out = net.forward(data=np.ones((1, 2, 3), np.float32))
    assert (out["y"] == 10).all()
    path = tmp_path / "w.caffemodel"
    net.save(str(path))
    saved = caffe_pb2.NetParameter.FromString(path.read_bytes())
    options = extensions.options(saved.layer[-1], "times_up_to_param")
    assert (options.by, options.mode, list(options.sizes)) == (5, 1, [4, 5])
    assert options.filler.type == "msra" and options.on and options.n == 0


def test_the_contract_is_tried_on_it():
    caffe.testing.check_layer('type: "TimesUpTo" times_up_to_param { by: 2 }', (2, 3, 2))
    caffe.testing.check_layer('type: "PlainTimes"', (2, 3, 2))


def test_a_wrong_gradient_is_found():
    class Wrong(TorchLayer):
        num_bottom = num_top = exactly(1)

        def compute(self, x):
            return x * x.detach()

    LAYERS.register("WrongGradient")(Wrong)
    try:
        with pytest.raises(AssertionError, match="gradient of bottom 0: .* off the central"):
            caffe.testing.check_layer('type: "WrongGradient"', (2, 3))
        caffe.testing.check_layer('type: "WrongGradient"', (2, 3), gradient=False)
    finally:
        LAYERS.remove("WrongGradient")


def test_what_is_misspelt_gets_a_hint():
    with pytest.raises(caffe.PrototxtError, match=r':3:9: .*did you mean "times_up_to_param"'):
        read_net("\nname: 'net'\nlayer { times_upto_param { by: 2 } }")
    with pytest.raises(caffe.PrototxtError, match='TimesUpToParameter has no field "byy".*"by"'):
        read_net(NET.replace("by: 5", "byy: 5"))


def test_netspec_knows_the_type():
    n = caffe.NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 2, 3]))
    n.x = L.TimesUpTo(n.data, by=4.0, sizes=[1, 2])
    n.y = L.TimesUpTo(n.x, times_up_to_param=dict(mode=1))
    text = str(n.to_proto())
    assert read_net(text) == n.to_proto()
    assert "times_up_to_param {" in extensions.as_written(text)
    assert read_net(extensions.as_written(text)) == n.to_proto()
    with pytest.raises(AttributeError, match="TimesUpTo has no option 'bye'"):
        n.z = L.TimesUpTo(n.data, bye=4.0)
        n.to_proto()


@pytest.mark.parametrize("kind, params, message", [
    ("Convolution", None, "is there already"),
    ("BadField", {"x": object()}, "field 'x' is"),
    ("Pooling2", "no.proto", "cannot be read"),
])
def test_what_cannot_be_defined(kind, params, message):
    with pytest.raises(CaffeError, match=message):
        define(kind, params)
    assert kind not in extensions.fields()


def test_names_of_fields():
    names = {"PwAttend": "pw_attend", "ROIAlignV2": "roi_align_v2", "LSTMCell": "lstm_cell"}
    assert {kind: extensions.snake_case(kind) for kind in names} == names


@pytest.mark.parametrize("text, message", [
    ("message A { optional int32 x = one; }", r"a\.proto:1: .*number"),
    ("message A {\n oneof x { } }", r"a\.proto:2: .*oneof"),
    ("message A { optional Nothing x = 1; }", "A.x: no type 'Nothing'"),
    ("message A { optional int32 x = 1;", "the file ends here"),
    ("message A {}\nmessage B {}", "no message FromFileParameter; it has A, B"),
])
def test_faults_of_a_proto_file_are_placed(tmp_path, text, message):
    (tmp_path / "a.proto").write_text(text)
    with pytest.raises(CaffeError, match=message):
        extensions.declare("FromFile", tmp_path / "a.proto")


def test_a_proto_file_with_all_it_may_have(tmp_path):
    (tmp_path / "all.proto").write_text('''
syntax = "proto2"; package caffe;  /* a comment
of two lines */
message Part { enum Kind { A = 0; B = 3; } optional Kind kind = 1 [default = B]; }
message AllKindsParameter {
  message Inner { repeated float values = 1 [packed = true]; }
  reserved 9, 10;
  repeated Part part = 1;
  optional Inner inner = 2;     // of ours
  optional string name = 3 [default = "a b"];
  optional LossParameter.NormalizationMode norm = 4;
  optional Phase phase = 5;
}''')
    extensions.declare("AllKinds", str(tmp_path / "all.proto"))
    try:
        net = read_net('layer { all_kinds_param { part { kind: A } part { } inner { values: [1, 2] } '
                       'norm: VALID phase: TEST } }')
        options = extensions.options(net.layer[0], "all_kinds_param")
        assert [part.kind for part in options.part] == [0, 3] and options.name == "a b"
        assert list(options.inner.values) == [1, 2] and options.phase == caffe.TEST
    finally:
        extensions.forget("AllKinds")


def test_the_guide_runs_as_written(tmp_path):
    """Module, message and test of docs/new_layers.md; the command finds the plugin in each way."""
    module, test = re.findall(r"```python\n(.*?)```", GUIDE, re.S)
    message, = re.findall(r"```proto\n(.*?)```", GUIDE, re.S)
    layer = re.search(r"```\n(layer \{.*?)```", GUIDE, re.S)[1]
    (tmp_path / "pw_attend.py").write_text(module)
    (tmp_path / "pw_attend.proto").write_text(message)
    (tmp_path / "test_pw_attend.py").write_text(test)
    (tmp_path / "net.prototxt").write_text(
        'layer { name: "conv" type: "Input" top: "conv" input_param { shape { dim: 1 dim: 4 dim: 3 '
        f"dim: 3 }} }} }}\n{layer}")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "caffe-mnc/python"),
                                                       str(tmp_path)]), "OMP_NUM_THREADS": "1"}
    run = [sys.executable, "-m", "caffe", "time", "--model=net.prototxt", "--iterations=1"]
    for command, more in (
            ([sys.executable, "-c", "import test_pw_attend as t; t.test_pw_attend()"], {}),
            ([*run, "--plugin", "pw_attend.py"], {"PYTHONPATH": str(ROOT / "caffe-mnc/python")}),
            ([*run, "--plugin=pw_attend"], {}), (run, {"CAFFE_PLUGINS": "pw_attend"})):
        done = subprocess.run(command, cwd=tmp_path, env={**env, **more}, capture_output=True,
                              text=True)
        assert done.returncode == 0, done.stderr
    done = subprocess.run(run, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 1 and "pw_attend_param" in done.stderr


def test_entry_points_are_loaded_once(monkeypatch):
    loaded = []
    entry = type("Entry", (), {"value": "mine:anything"})
    monkeypatch.setattr(plugins, "load", loaded.append)
    monkeypatch.setattr(plugins, "_named_loaded", False)
    monkeypatch.setattr(plugins.importlib.metadata, "entry_points",
                        lambda group: [entry] if group == "caffe.layers" else [])
    plugins.load_named()
    plugins.load_named()
    assert loaded == ["mine"]


def test_a_plugin_that_fails_is_named(tmp_path):
    (tmp_path / "broken.py").write_text("1 / 0")
    for name, message in ((str(tmp_path / "broken.py"), "ZeroDivisionError"),
                          (str(tmp_path / "none.py"), "no such file"),
                          ("no_such_module_here", "No module named")):
        with pytest.raises(CaffeError, match=f"plugin .*{message}"):
            plugins.load(name)
