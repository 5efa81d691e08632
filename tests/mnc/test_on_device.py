"""The tensor path of test nets against the arrays', which the golden vectors hold."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import caffe
from mnc.boxes import on_device
from mnc.boxes.anchors import generate_anchors, shifted_anchors
from mnc.boxes.proposals import ProposalLimits, propose
from mnc.boxes.regression import bounded_growth
from mnc.config import cfg
from mnc.sampling.stage_bridge import move_rois
from pylayer import adapter

SIZE = (90.0, 130.0)


def tensors(*arrays):
    return [torch.from_numpy(np.ascontiguousarray(a)) for a in arrays]


def anchors_of_map(height=6, width=8):
    return shifted_anchors(generate_anchors(), height, width, 16).astype(np.float32)


@pytest.mark.parametrize("limits", [ProposalLimits(0, 0, 0.7, 0), ProposalLimits(200, 20, 0.5, 16),
                                    ProposalLimits(50, 300, 0.7, 40, inclusive_nms=True),
                                    ProposalLimits(10, 5, 0.7, 1000)])
def test_proposals(limits):
    anchors = anchors_of_map()
    rng = np.random.RandomState(2)
    scores = rng.rand(len(anchors)).round(2).astype(np.float32)         # with ties
    deltas = (0.3 * rng.randn(len(anchors), 4)).astype(np.float32)
    expected = propose(scores, deltas, anchors, SIZE, limits)
    rois, index = on_device.propose(*tensors(scores, deltas, anchors), SIZE, limits)
    assert index.tolist() == expected.anchor_index.tolist()
    np.testing.assert_allclose(rois, expected.rois, rtol=1e-6, atol=1e-4)


def test_proposals_of_numbers_that_are_none():
    """NaN scores and deltas, and growth beyond all bounds: as on the host, and no NaN in them."""
    anchors, rng = anchors_of_map(), np.random.RandomState(2)
    scores = rng.rand(len(anchors)).astype(np.float32)
    deltas = (0.3 * rng.randn(len(anchors), 4)).astype(np.float32)
    scores[::3], deltas[1::5, 2], deltas[::7, 3] = np.nan, np.nan, 1e4
    limits = ProposalLimits(20, 10, 0.7, 16)
    expected = propose(scores, deltas, anchors, SIZE, limits)
    rois, index = on_device.propose(*tensors(scores, deltas, anchors), SIZE, limits)
    assert len(index) and index.tolist() == expected.anchor_index.tolist()
    np.testing.assert_allclose(rois, expected.rois, rtol=1e-6, atol=1e-4)
    assert np.isfinite(expected.rois).all() and not set(index.tolist()) & set(range(0, 400, 3))


@pytest.mark.parametrize("foreground_only", (True, False))
def test_the_stage_bridge(foreground_only):
    rng = np.random.RandomState(2)
    corner = rng.rand(30, 2) * 60
    rois = np.hstack((np.zeros((30, 1)), corner, corner + 10 + rng.rand(30, 2) * 60))
    pred, scores = 0.4 * rng.randn(30, 16), rng.rand(30, 4)
    arrays = [a.astype(np.float32) for a in (rois, pred, scores)]
    expected = move_rois(*arrays, SIZE, foreground_only).rois
    found = on_device.move_rois(*tensors(*arrays), SIZE, foreground_only)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-4)


def test_bounded_growth():
    deltas = np.random.RandomState(3).randn(5, 8).astype(np.float32)
    found = on_device.bounded_growth(torch.from_numpy(deltas), 0.3)
    np.testing.assert_array_equal(found, bounded_growth(deltas, 0.3))
    assert on_device.bounded_growth(found[:0], 0.3).shape == (0, 8)


def test_without_rois():
    empty = torch.zeros(0, 5), torch.zeros(0, 16), torch.zeros(0, 4)
    assert on_device.move_rois(*empty, SIZE, True).shape == (0, 5)


NET = """
force_backward: true
layer { name: "in" type: "Input" top: "scores" top: "deltas" top: "im_info"
  input_param { shape { dim: 1 dim: 18 dim: 6 dim: 8 } shape { dim: 1 dim: 36 dim: 6 dim: 8 }
                shape { dim: 1 dim: 3 } } }
layer { name: "proposal" type: "Python" bottom: "scores" bottom: "deltas" bottom: "im_info"
  top: "rois" python_param { module: "pylayer.proposal_layer" layer: "ProposalLayer"
                             param_str: "'feat_stride': 16" } propagate_down: false
  propagate_down: true propagate_down: false }
layer { name: "pred" type: "Python" bottom: "rois" top: "bbox_pred" top: "prob"
  python_param { module: "test_on_device" layer: "Predictions" } }
layer { name: "bridge" type: "Python" bottom: "rois" bottom: "bbox_pred" bottom: "prob"
  bottom: "im_info" top: "rois_ext"
  python_param { module: "pylayer.stage_bridge_layer" layer: "StageBridgeLayer" } }
"""


class Predictions(caffe.Layer):
    """Box deltas and scores of 4 classes, the same in every forward."""

    def reshape(self, bottom, top):
        rows = bottom[0].shape[0]
        top[0].reshape(rows, 16)
        top[1].reshape(rows, 4)

    def forward(self, bottom, top):
        rng = np.random.RandomState(4)
        for blob in top:
            blob.data[...] = 0.2 * rng.rand(*blob.shape)

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = 0


def run(tmp_path):
    cfg.COMPAT.PROPOSAL_GRADIENT = "exact"      # the other form has none so near the border
    (tmp_path / "net.prototxt").write_text(NET)
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    rng = np.random.RandomState(1)
    net.blobs["scores"].data[...] = rng.rand(1, 18, 6, 8)
    net.blobs["deltas"].data[...] = 0.2 * rng.randn(1, 36, 6, 8)
    net.blobs["im_info"].data[...] = (*SIZE, 1)
    net.forward()
    net.blobs["rois_ext"].diff[...] = rng.randn(*net.blobs["rois_ext"].shape)
    net.backward()
    return {name: (blob.data.copy(), blob.diff.copy()) for name, blob in net.blobs.items()}


def test_layers_give_the_same_on_a_device_forward_and_backward(tmp_path, monkeypatch):
    arrays = run(tmp_path)
    asked = []
    for module in ("proposal_layer", "stage_bridge_layer"):
        monkeypatch.setattr(f"pylayer.{module}.stays_on_device",
                            lambda layer, bottom: asked.append(layer) or True)
    found = run(tmp_path)
    assert len(asked) == 2
    assert np.abs(arrays["rois_ext"][0]).max() > 0 and np.abs(arrays["deltas"][1]).max() > 0
    for name, both in arrays.items():
        for want, got in zip(both, found[name]):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-4, err_msg=name)


@pytest.mark.parametrize(("phase", "device", "stays"), [
    (caffe.TEST, "cuda", True), (caffe.TRAIN, "cuda", False), (caffe.TEST, "cpu", False)])
def test_what_stays_on_a_device(phase, device, stays):
    blob = SimpleNamespace(device=torch.device(device))
    assert adapter.stays_on_device(SimpleNamespace(phase=phase), [blob]) is stays
