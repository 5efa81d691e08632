"""A tiny five-stage net against the public code: each blob and gradient, three updates, test, voting."""

from __future__ import annotations

import json

import caffe
import numpy as np
import pytest
from golden_mnc import GOLDEN, relative_error

from mnc.config import overridden
from mnc.masks.voting import vote_masks

FOLDER = GOLDEN / "mnc_e2e"
INDEX = json.loads((FOLDER / "index.json").read_text())


def arrays(name):
    with np.load(FOLDER / f"{name}.npz") as file:
        return dict(file)


def feed(net, golden):
    for name in net.inputs:
        value = golden[f"blob:{name}"]
        net.blobs[name].reshape(*value.shape)
        net.blobs[name].data[...] = value


def build(name, phase):
    with overridden(INDEX["config"]):
        return caffe.Net(str(FOLDER / f"{name}.prototxt"), str(FOLDER / "weights.caffemodel"), phase)


@pytest.fixture(scope="module")
def trained():
    """(net after one forward and backward, golden arrays)"""
    golden = arrays("train")
    net = build("train", caffe.TRAIN)
    feed(net, golden)
    np.random.seed(3)
    net.forward()
    net.backward()
    drawn = np.random.rand(4)
    return net, golden, drawn


def of_kind(golden, kind):
    return {key.partition(":")[2]: value for key, value in golden.items() if key.startswith(f"{kind}:")}


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


def test_the_rois_get_the_gradients_of_the_public_code(trained):
    net, golden, _ = trained
    for name in ("rpn_rois", "rpn_bbox_pred", "rois_ext", "bbox_pred", "mask_proposal", "mask_output"):
        assert relative_error(net.blobs[name].diff, golden[f"diff:{name}"]) < 5e-4, name


def test_three_updates(tmp_path, monkeypatch):
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
            assert relative_error(solver.net.params[layer][int(i)].data, value) < 1e-4, (step, key)


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


def test_the_voting_after_it():
    golden = arrays("test_voting")
    found = vote_masks(golden["boxes"], golden["masks"], golden["scores"], INDEX["num_classes"], 100,
                       int(golden["im_width"]), int(golden["im_height"]))
    for c in range(1, INDEX["num_classes"]):
        masks, boxes = found[c]
        assert np.array_equal(boxes, golden[f"box_{c}"])
        assert np.abs(masks - golden[f"mask_{c}"]).max() < 2e-5
