"""A tiny five-stage net against the public code: blobs, gradients, three updates, test, voting."""

from __future__ import annotations

import json

import numpy as np
import pytest

import caffe
from golden_mnc import GOLDEN, relative_error
from mnc.boxes import proposals
from mnc.boxes.nms import nms
from mnc.config import overridden
from mnc.inference.networks import READ, optimize
from mnc.instances import Raw
from mnc.masks.voting import vote_masks

FOLDER = GOLDEN / "mnc_e2e"
pytestmark = pytest.mark.usefixtures("served_by")
INDEX = json.loads((FOLDER / "index.json").read_text())


def arrays(name):
    with np.load(FOLDER / f"{name}.npz") as file:
        return dict(file)


def of_kind(golden, kind):
    return {key.partition(":")[2]: value
            for key, value in golden.items() if key.startswith(f"{kind}:")}


def feed(net, golden):
    for name in net.inputs:
        value = golden[f"blob:{name}"]
        net.blobs[name].reshape(*value.shape)
        net.blobs[name].data[...] = value


def build(name, phase):
    with overridden(INDEX["config"]):
        return caffe.Net(str(FOLDER / f"{name}.prototxt"), str(FOLDER / "weights.caffemodel"),
                         phase)


@pytest.fixture(scope="module")
def trained(served_by):
    """(net after one forward and backward, golden arrays, random numbers drawn afterwards)"""
    golden = arrays("train")
    net = build("train", caffe.TRAIN)
    feed(net, golden)
    np.random.seed(3)
    net.forward()
    net.backward()
    return net, golden, np.random.rand(4)


def test_every_blob(trained):
    net, golden, drawn = trained
    wanted = of_kind(golden, "blob")
    assert len(wanted) > 70
    errors = {name: relative_error(net.blobs[name].data, value) for name, value in wanted.items()}
    assert max(errors.values()) < 5e-5, errors
    assert np.allclose(drawn, golden["after_draw"])


def test_every_parameter_gradient(trained):
    net, golden, _ = trained
    wanted = of_kind(golden, "paramdiff")
    assert len(wanted) == 32
    for key, value in wanted.items():
        layer, _, i = key.rpartition(":")
        assert relative_error(net.params[layer][int(i)].diff, value) < 5e-4, key


def test_the_gradients_through_the_python_layers(trained):
    net, golden, _ = trained
    for name in ("rpn_rois", "rpn_bbox_pred", "rois_ext", "bbox_pred", "mask_proposal",
                 "mask_output"):
        assert relative_error(net.blobs[name].diff, golden[f"diff:{name}"]) < 5e-4, name


def test_three_updates(monkeypatch):
    """From the second on many scores are exactly 1: the order of ties decides what stays."""
    monkeypatch.setattr(proposals, "by_score",
                        lambda scores, most: scalar_order(scores)[:most or None])
    monkeypatch.setattr(proposals, "nms", nms_in_scalar_order)
    golden = arrays("solver_3steps")
    monkeypatch.chdir(FOLDER)
    with overridden(INDEX["config"]):
        solver = caffe.SGDSolver("solver.prototxt")
    solver.net.copy_from("weights.caffemodel")
    feed(solver.net, arrays("train"))
    np.random.seed(3)
    for step in range(3):
        solver.step(1)
        for key, value in of_kind(golden, f"param{step}").items():
            layer, _, i = key.rpartition(":")
            error = relative_error(solver.net.params[layer][int(i)].data, value)
            assert error < 1e-5, (step, key)
        for name, value in of_kind(golden, f"loss{step}").items():
            assert np.isclose(solver.net.blobs[name].data, value, rtol=1e-4), (step, name)


def test_a_test_pass():
    golden = arrays("test")
    net = build("test", caffe.TEST)
    data = arrays("train")["blob:data"]
    net.blobs["data"].reshape(*data.shape)
    net.blobs["data"].data[...] = data
    net.blobs["im_info"].data[...] = golden["blob:im_info"]
    net.forward()
    wanted = of_kind(golden, "blob")
    assert len(wanted) > 50
    errors = {name: relative_error(net.blobs[name].data, value) for name, value in wanted.items()}
    assert max(errors.values()) < 5e-5, errors


@pytest.mark.parametrize("backend", ("torch", "onnxruntime", "openvino"))
def test_a_test_pass_of_the_optimised_net(backend):
    """Weights packed, layers joined, the dense part in each runtime: what is read of it is equal."""
    if backend != "torch":
        for package in (backend, "onnxscript"):
            pytest.importorskip(package, reason=f"pip install mnc-caffe[{backend}]")
    golden = arrays("test")
    net = build("test", caffe.TEST)
    optimize(net, backend=backend)
    net.blobs["data"].reshape(*arrays("train")["blob:data"].shape)
    net.blobs["data"].data[...] = arrays("train")["blob:data"]
    net.blobs["im_info"].data[...] = golden["blob:im_info"]
    net.forward()
    chains = net._optimized._plan._chains
    assert any(chain.runner for chain in chains) == (backend != "torch")
    wanted = {name: value for name, value in of_kind(golden, "blob").items()
              if name.removesuffix("_ext") in READ}
    assert len(wanted) >= 6
    errors = {name: relative_error(net.blobs[name].data, value) for name, value in wanted.items()}
    assert max(errors.values()) < 5e-5, errors


def test_the_voting_after_it():
    golden = arrays("test_voting")
    found = vote_masks(Raw(golden["boxes"], golden["masks"], golden["scores"]),
                       (int(golden["im_height"]), int(golden["im_width"])))
    assert len(found) == INDEX["num_classes"]
    for c in range(1, INDEX["num_classes"]):
        assert np.array_equal(found[c].boxes, golden[f"box_{c}"])
        assert np.abs(found[c].masks - golden[f"mask_{c}"][:, 0]).max() < 2e-5


# --- the order of equal scores in the vectors -----------------------------------------------

def nms_in_scalar_order(dets, thresh, inclusive, limit):
    order = scalar_order(dets[:, 4])
    ranked = np.hstack((dets[order, :4], np.arange(len(dets), 0, -1)[:, None]))
    return order[nms(ranked, thresh, inclusive, limit)]


def scalar_order(scores):
    """`scores.argsort()[::-1]` of a numpy without vector instructions, whatever machine runs this.

    Its quicksort: pivot = median of first, middle and last; parts up to 16 rows by insertion.
    """
    rows = list(range(len(scores)))
    values = scores.tolist()
    parts = [(0, len(rows) - 1)]
    while parts:
        low, high = parts.pop()
        if high - low <= 15:
            rows[low:high + 1] = sorted(rows[low:high + 1], key=values.__getitem__)
        else:
            middle = split(rows, values, low, high)
            parts += [(low, middle - 1), (middle + 1, high)]
    return np.array(rows[::-1], dtype=int)


def split(rows, values, low, high):
    """Move what is below the pivot before it, the rest behind it; returns its place."""
    def swap(i, j):
        rows[i], rows[j] = rows[j], rows[i]

    middle = low + (high - low) // 2
    for i, j in ((low, middle), (middle, high), (low, middle)):
        if values[rows[j]] < values[rows[i]]:
            swap(i, j)
    pivot = values[rows[middle]]
    i, j = low, high - 1
    swap(middle, j)
    while True:
        i += 1
        while values[rows[i]] < pivot:
            i += 1
        j -= 1
        while pivot < values[rows[j]]:
            j -= 1
        if i >= j:
            break
        swap(i, j)
    swap(i, high - 1)
    return i
