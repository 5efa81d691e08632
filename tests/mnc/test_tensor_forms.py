"""Layers of MNC and mask voting as tensor modules: the same as the layers and the voting."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import caffe
from mnc.inference.networks import run_net
from mnc.inference.selection import best_of, suppress
from mnc.inference.settings import TestSettings
from mnc.inference.whole import WholeNet, suppressed
from mnc.instances import InferenceError, Instances, Raw
from mnc.masks.tensor_voting import VotingForm
from mnc.masks.voting import Voting, vote_masks

BLOBS = ("rois", "mask_proposal", "seg_cls_prob", "bbox_pred")


def five_stages(tiny_model):
    """With boxes that move, and scores that differ."""
    net, random = caffe.Net(str(tiny_model / "test.prototxt"), caffe.TEST), np.random.default_rng(4)
    for blobs in net.params.values():
        for blob in blobs:
            blob.data[...] = random.normal(size=blob.shape) * 0.1
    return net


def test_a_whole_cascade_is_one_module(tiny_model, mini_cfg):
    net = five_stages(tiny_model)
    names = [f"{name}{suffix}" for suffix in ("", "_ext") for name in BLOBS]
    module = net.to_torch(names)
    image = np.random.default_rng(1).integers(0, 255, (61, 83, 3)).astype(np.uint8)
    run_net(net, image, TestSettings.of(mini_cfg))
    inputs = {name: torch.from_numpy(net.blobs[name].data.copy()) for name in ("data", "im_info")}
    with torch.no_grad():
        found = module(**inputs)
    assert len(found["rois"]) > 1
    for name in names:
        np.testing.assert_allclose(found[name], net.blobs[name].data, atol=2e-4, err_msg=name)


def test_gradients_go_through_the_cascade(tiny_model, mini_cfg):
    module = five_stages(tiny_model).to_torch(["seg_cls_prob_ext"])
    data = torch.rand(1, 3, 48, 64)
    module(data, torch.tensor([[48.0, 64, 1]]))["seg_cls_prob_ext"].square().sum().backward()
    assert next(module.parameters()).grad.abs().sum() > 0


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_voting(seed, exact):
    random = np.random.default_rng(seed)
    height, width = random.integers(5, 90, 2)
    number, classes, side = 40, 4, 21
    last = np.array([width - 1, height - 1] * 2)
    corners = np.sort(random.uniform(0, 1, (number // 4, 2, 2)), 1).reshape(-1, 4) * last
    boxes = np.repeat(corners, 4, 0) + random.normal(size=(number, 4)) * 2
    boxes = np.clip(boxes, 0, last)
    boxes[:, 2:] = np.maximum(boxes[:, :2], boxes[:, 2:])
    masks = random.uniform(0, 1, (number, side, side)) * (seed != 3)    # one without any
    scores = random.dirichlet(np.ones(classes), number)
    raw = Raw(*(array.astype(np.float32) for array in (boxes, masks, scores)))
    voting = Voting(most=(100, 7)[seed % 2], inclusive=seed > 3, exact=exact)
    expected = Instances.from_detections(vote_masks(raw, (height, width), voting))
    found = VotingForm(voting)(*map(torch.from_numpy, (raw.boxes, raw.masks, raw.scores)),
                               torch.tensor([height, width]))
    np.testing.assert_array_equal(found[0], expected.boxes[:, :4])
    np.testing.assert_allclose(found[1], expected.masks, atol=1e-5)
    np.testing.assert_array_equal(found[2], expected.labels)
    np.testing.assert_array_equal(found[3], expected.boxes[:, 4].astype(np.float32))


def test_voting_of_nothing():
    empty = VotingForm(Voting())(torch.zeros(0, 4), torch.zeros(0, 21, 21), torch.zeros(0, 3),
                                 torch.tensor([20, 30]))
    assert [tuple(value.shape) for value in empty] == [(0, 4), (0, 21, 21), (0,), (0,)]


def test_other_voting_does_not_go(tiny_model, mini_cfg):
    mini_cfg.TEST.USE_GPU_MASK_MERGE = False
    with pytest.raises(InferenceError, match="USE_GPU_MASK_MERGE"):
        WholeNet(five_stages(tiny_model), TestSettings.of(mini_cfg), "seg")


@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize("most", [100, 7])
def test_suppression_class_by_class(per_class, most, mini_cfg):
    random, (number, classes) = np.random.default_rng(most), (40, 4)
    boxes = random.uniform(0, 40, (number, classes if per_class else 1, 4))
    boxes[..., 2:] += boxes[..., :2]
    raw = Raw(boxes.reshape(number, -1).astype(np.float32), np.zeros((number, 3, 3), np.float32),
              random.dirichlet(np.ones(classes), number).round(2).astype(np.float32))
    raw.masks[:] = np.arange(number)[:, None, None]
    settings = replace(TestSettings.of(mini_cfg), most=most)
    expected = Instances.from_detections(suppress(best_of(raw, most), settings.nms,
                                                  settings.inclusive))
    found = suppressed(torch.from_numpy(raw.boxes), torch.from_numpy(raw.scores), settings)
    assert 0 < len(expected) < 3 * most
    np.testing.assert_array_equal(found[0], expected.boxes[:, :4])
    np.testing.assert_array_equal(found[1], expected.masks[:, 0, 0])
    np.testing.assert_array_equal(found[2], expected.labels)
    np.testing.assert_array_equal(found[3], expected.boxes[:, 4].astype(np.float32))
