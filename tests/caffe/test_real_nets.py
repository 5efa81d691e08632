"""Nets of other people: they build as they did in the real Caffe, or fail where it failed."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import caffe
from caffe.engine.errors import CaffeError, PrototxtError
from caffe.engine.formats.prototxt import read_message, read_net, read_solver
from caffe.engine.net.net import Net
from caffe.proto import caffe_pb2


@pytest.fixture(scope="module")
def records(real_material):
    return json.loads((real_material / "prototxts.json").read_text())


@pytest.fixture(scope="module")
def folder(real_material) -> Path:
    return real_material / "prototxts"


def kinds(records, key):
    return [name for name, record in records.items() if key in record]


def phase_of(name: str) -> int:
    return caffe.TRAIN if re.search(r"train", Path(name).name) else caffe.TEST


def shapes(net: Net) -> dict:
    return {
        "blobs": [[name, list(blob.shape)] for name, blob in net.blobs.items()],
        "params": [[name, [list(b.shape) for b in blobs]] for name, blobs in net.params.items()],
        "layers": list(net._layer_names), "types": [y.type for y in net.layers],
        "inputs": list(net.inputs), "outputs": list(net.outputs),
    }


def test_nets_build_with_the_shapes_of_the_real_caffe(folder, records, no_values):
    names = kinds(records, "shapes")
    assert len(names) >= 20
    for name in names:
        built = shapes(Net(str(folder / name), caffe.TEST))
        expected = records[name]["shapes"]
        if "only" in records[name]:         # the fork keeps `input:` where others have a layer
            assert (built["layers"].pop(0), built["types"].pop(0)) == ("input", "Input")
        for key in expected:
            assert built[key] == expected[key], f"{name}: {key}"


def test_nets_without_their_data_or_modules_fail_for_that_reason(folder, records, no_values,
                                                                 tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = kinds(records, "reference_says")
    assert len(names) >= 40
    for name in names:
        said = records[name]["reference_says"]
        missing = re.search(r"(?:leveldb|lmdb|found:|named) '?([^']+)'?$", said)[1]
        read_net(folder / name)
        with pytest.raises((CaffeError, OSError)) as caught:
            Net(str(folder / name), phase_of(name))
        assert missing in str(caught.value), f"{name}: {said!r}, we: {caught.value}"


def test_all_others_parse_as_what_they_are(folder, records):
    names = [name for name, record in records.items() if not record]
    assert len(names) >= 40
    for name in names:
        if "solver" in Path(name).name:
            assert read_solver(folder / name).base_lr > 0
            with pytest.raises(PrototxtError):
                read_message(folder / name, caffe_pb2.NetParameter())
        else:
            assert len(read_net(folder / name).layer) > 5


def test_solvers_name_the_net_they_cannot_find(folder, records, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (n for n, record in records.items() if not record and "solver" in Path(n).name):
        param = read_solver(folder / name)
        with pytest.raises(CaffeError) as caught:
            caffe.get_solver(str(folder / name))
        nets = [getattr(param, f) for f in ("net", "train_net") if param.HasField(f)]
        known = [*nets, "snapshot_prefix", 'layer "']
        assert any(word in str(caught.value) for word in known), f"{name}: {caught.value}"


@pytest.mark.parametrize("backend", (None, "torch", "onnxruntime", "openvino"))
def test_networks_compute_what_the_real_caffe_computed(real_material, backend):
    """V1, legacy blobs, HDF5, left-over Split layers: ten trained nets, on a recorded input; as
    they are, optimised, and with their dense parts in each runtime.
    """
    if backend not in (None, "torch"):
        for package in (backend, "onnxscript"):
            pytest.importorskip(package, reason=f"pip install mnc-caffe[{backend}]")
    models = json.loads((real_material / "models.json").read_text())
    assert len(models) == 10
    for name, files in models.items():
        recorded = np.load(real_material / files["outputs"])
        net = caffe.Net(str(real_material / files["prototxt"]), caffe.TEST,
                        weights=str(real_material / files["weights"]))
        net.blobs[net.inputs[0]].reshape(*recorded["in"].shape)
        keys = [key for key in recorded.files if key.startswith("out_")]
        if backend:
            net.optimize([key[4:] for key in keys], backend=backend)
        net.forward(**{net.inputs[0]: recorded["in"]})
        assert backend in (None, "torch") or any(
            chain.runner for chain in net._optimized._plan._chains), name
        for key in keys:
            np.testing.assert_allclose(net.blobs[key[4:]].data, recorded[key], rtol=1e-5,
                                       atol=1e-5 * np.abs(recorded[key]).max(),
                                       err_msg=f"{name} {key}")


def test_networks_of_forks_compute_what_their_fork_computed(real_material):
    """Nets with layers of SSD, on a recorded input: outputs and some blobs between."""
    nets = json.loads((real_material / "forks/nets/index.json").read_text())["nets"]
    assert len(nets) == 3
    for files in nets:
        stem = str(real_material / "forks/nets" / files["name"])
        recorded = np.load(f"{stem}.npz")
        net = caffe.Net(f"{stem}.prototxt", f"{stem}.caffemodel", caffe.TEST)
        net.forward(**{files["input"]: recorded[f"input:{files['input']}"]})
        for key in recorded.files:
            kind, _, name = key.partition(":")
            if kind != "input":
                np.testing.assert_allclose(
                    net.blobs[name].data, recorded[key], rtol=0,
                    atol=1e-4 * np.abs(recorded[key]).max(), err_msg=f"{files['name']} {key}")
