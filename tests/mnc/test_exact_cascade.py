"""With everything set to exact, the gradient through the cascade is the derivative of its losses.

What the public code decides (which proposals, which RoIs, which targets and labels) is held fixed:
the losses are differentiable only between such decisions.
"""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

import caffe
import pylayer.mask_layer
import pylayer.proposal_layer
import pylayer.proposal_target_layer
import pylayer.stage_bridge_layer
from golden_mnc import GOLDEN
from mnc.boxes.proposals import with_image_index
from mnc.boxes.regression import bbox_transform_inv, clip_boxes
from mnc.config import overridden
from mnc.sampling.proposal_targets import with_ground_truth

FOLDER = GOLDEN / "mnc_e2e"
EXACT = {f"COMPAT.{key}": "exact"
         for key in ("PROPOSAL_GRADIENT", "BRIDGE_GRADIENT", "BRIDGE_DELTAS", "MASK_GRADIENT")}


def frozen(function, again):
    """`function`, whose decisions stay those of the first pass: again(first result, arguments).

    A pass may call it several times; set `position` to 0 before the next pass.
    """
    made = []

    def call(*args):
        if call.position == len(made):
            made.append(function(*args))
            result = made[-1]
        else:
            result = again(made[call.position], *args)
        call.position += 1
        return result

    call.position = 0
    return call


def propose_again(first, scores, deltas, anchors, image_size, limits):
    boxes, _ = clip_boxes(bbox_transform_inv(anchors, deltas), image_size)
    return dataclasses.replace(first, rois=with_image_index(boxes[first.anchor_index]))


def sample_again(first, rois, truth, *settings):
    return dataclasses.replace(first, rois=with_ground_truth(rois, truth)[first.keep])


def bridge_again(first, bridge, truth, *settings):
    return sample_again(first, bridge.rois, truth)


def label_again(first, *arguments):
    return first


@pytest.fixture
def decisions(monkeypatch):
    """The frozen functions, put into the Python layers."""
    places = [(pylayer.proposal_layer, "propose", propose_again),
              (pylayer.proposal_target_layer, "proposal_targets", sample_again),
              (pylayer.stage_bridge_layer, "bridge_targets", bridge_again),
              (pylayer.mask_layer, "mask_labels", label_again)]
    made = []
    for module, name, again in places:
        made.append(frozen(getattr(module, name), again))
        monkeypatch.setattr(module, name, made[-1])
    return made


def exact_net(compat=EXACT):
    text = (FOLDER / "train.prototxt").read_text().replace("'use_clip': 1", "'use_clip': 0")
    for op in ("roi_warping_param {", "mask_resize_param {"):
        text = text.replace(op, f"{op} mode: EXACT")
    for name in ("rpn_loss_cls", "rpn_loss_bbox"):                # stage 1 alone: not of interest
        head, found, tail = text.partition(f'layer {{ name: "{name}"')
        assert found
        text = head + found + tail.replace("loss_weight: 1", "loss_weight: 0", 1)
    settings = json.loads((FOLDER / "index.json").read_text())["config"]
    with overridden(settings | compat):
        net = caffe.Net(text, caffe.TRAIN, weights=str(FOLDER / "weights.caffemodel"),
                        dtype="float64")
    with np.load(FOLDER / "train.npz") as golden:
        for name in net.inputs:
            net.blobs[name].data[...] = golden[f"blob:{name}"]
    return net


def test_losses_of_stages_2_to_5_against_the_deltas_of_stage_1(decisions):
    net = exact_net()

    def total_loss():
        for decision in decisions:
            decision.position = 0
        net.forward()
        weights = net.blob_loss_weights
        return sum(weights[name] * float(net.blobs[name].data) for name in net.outputs)

    np.random.seed(3)
    total_loss()
    net.clear_param_diffs()
    net.backward()
    bias = net.params["rpn_bbox_pred"][1]                         # one number a delta and anchor
    analytic = bias.diff.copy()
    largest = np.argsort(-np.abs(analytic))[:8]
    assert np.abs(analytic[largest]).min() > 1e-3
    step = 1e-7
    for k in largest:
        values = []
        for sign in (1, -1):
            bias.data[k] += sign * step
            values.append(total_loss())
            bias.data[k] -= sign * step
        numerical = (values[0] - values[1]) / (2 * step)
        assert np.isclose(analytic[k], numerical, rtol=1e-5, atol=1e-6), k
