"""The steps of the training schemes: which layers each step has, and what it moves."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

import caffe
from caffe.engine.formats.prototxt import read_net
from conftest import ROOT
from mnc.config import cfg
from mnc.data import get_dataset
from mnc.schemes import SCHEMES, Scheme, Step
from mnc.training.schemes import (
    ENDINGS,
    Places,
    shares,
    start,
    step_net,
    step_solver,
    train_scheme,
)


def learning(net) -> set[str]:
    """Layers of a net whose parameters have a learning rate."""
    rates = {id(blob): rate for blob, rate in zip(net.learnable_params, net.params_lr)}
    return {name for name, blobs in net.params.items() if any(rates[id(b)] for b in blobs)}


def learning_convolutions(task: str, stage: int, net: str = "VGG16", **options) -> set[str]:
    part = step_net(read_net(str(ROOT / f"models/{net}/{task}/train.prototxt")), stage, **options)
    return {layer.name for layer in part.layer
            if layer.type in ("Convolution", "InnerProduct") and layer.param[0].lr_mult}


RPN = {"rpn_conv_3x3", "rpn_cls_score", "rpn_bbox_pred"}
MASKS = {"fc6_maskest", "mask_pred"}
CLASSES = {"fc6", "fc7", "fc6_mask", "fc7_mask", "cls_score", "seg_cls_score", "bbox_pred"}
FEATURES = {f"conv{block}_{i}" for block in (3, 4, 5) for i in (1, 2, 3)}


@pytest.mark.parametrize("stage, head", [(1, RPN), (2, MASKS), (3, CLASSES)])
def test_a_stage_learns_its_head_and_its_own_features(stage, head):
    own = {name + ENDINGS[stage] for name in FEATURES}
    assert learning_convolutions("mnc_separate", stage) == head | own
    assert learning_convolutions("mnc_3stage", stage, keep_features=True) == head
    shared = FEATURES if stage == 1 else set()
    assert learning_convolutions("mnc_3stage", stage) == head | shared


@pytest.fixture
def places(tiny_net, mini_cfg) -> Places:
    folders = {task: tiny_net(task) for task in ("mnc_separate", "mnc_3stage")}

    class Folders(Places):
        def prototxt(self, task: str, phase: str) -> Path:
            return folders[task] / f"{phase}.prototxt"

    return Folders(Path(), ROOT / "experiments/cfgs/Mini",
                   ["TRAIN.RPN_POST_NMS_TOP_N", "TEST.RPN_POST_NMS_TOP_N"])


@pytest.fixture
def scenes(tiny_scenes):
    return get_dataset(f"sbd:{tiny_scenes}:train")


ALL_STEPS = [pytest.param(step, id=f"{step.task}-{step.stage}-{step.keep_features}")
             for step in dict.fromkeys(SCHEMES["a"].steps + SCHEMES["b"].steps[3:])]


@pytest.mark.parametrize("step", ALL_STEPS)
def test_a_step_moves_what_learns_and_nothing_else(places, scenes, tmp_path, step, monkeypatch):
    made = []
    monkeypatch.setattr("mnc.training.schemes.start", lambda net, *_: made.append(
        (net, {name: [b.data.copy() for b in blobs] for name, blobs in net.params.items()})))
    train_scheme(Scheme("one step", (step,)), places, scenes, tmp_path, 2)
    (net, before), = made
    moved = {name for name, blobs in net.params.items()
             if not name.startswith("bn")               # statistics, which nothing reads
             and any((blob.data != old).any() for blob, old in zip(blobs, before[name]))}
    assert moved == learning(net) and moved
    assert set(net.outputs) <= {"rpn_cls_loss", "rpn_loss_bbox", "loss_mask", "cls_loss",
                                "seg_cls_loss", "bbox_loss"}


def test_features_start_where_another_stage_left_them(places, tmp_path):
    def built(step):
        return caffe.Net(step_solver(step, places, tmp_path, 1).train_net, caffe.TRAIN)

    with places.configuration("mnc_separate"):
        third = built(Step("mnc_separate", 3))
        learned = {name: [blob.data.copy() for blob in blobs]
                   for name, blobs in third.params.items()}
        shared = built(Step("mnc_3stage", 1))
        start(shared, Step("mnc_3stage", 1, features_of=3), learned)
    np.testing.assert_array_equal(shared.params["conv1_1"][0].data, learned["conv1_1_stage3"][0])
    np.testing.assert_array_equal(shared.params["rpn_cls_score"][0].data,
                                  learned["rpn_cls_score"][0])
    assert (learned["conv1_1"][0] != learned["conv1_1_stage3"][0]).any()


@pytest.fixture
def stored(places, scenes, tmp_path):
    """scheme -> for each of its steps the first values of its layers in the snapshot."""
    def stored(name):
        train_scheme(SCHEMES[name], places, scenes, tmp_path, len(SCHEMES[name].steps))
        found = []
        for step in sorted(tmp_path.glob("step*")):
            path, = step.glob("*.caffemodel.h5")
            with h5py.File(path) as file:
                found.append({layer: blobs["0"][()] for layer, blobs in file["data"].items()
                              if "0" in blobs})
        return found
    return stored


def same(one, other) -> bool:
    return bool((one == other).all())


def test_with_separate_features_the_last_step_has_all(stored):
    first, second, third = stored("a")
    assert same(third["conv3_1"], first["conv3_1"])
    assert same(third["rpn_cls_score"], first["rpn_cls_score"])
    for layer in ("conv3_1_stage2", "mask_pred"):
        assert same(third[layer], second[layer])
    assert "conv3_1_stage3" not in second and "mask_pred" not in first


def test_shared_features_are_those_of_stage_3_and_the_heads_learn_again_on_them(stored):
    steps = stored("b")
    assert not same(steps[0]["conv3_1"], steps[2]["conv3_1_stage3"])
    for later in steps[3:]:
        assert same(later["conv3_1"], steps[2]["conv3_1_stage3"])
    for layer, first, again in (("rpn_cls_score", 0, 3), ("mask_pred", 1, 4), ("fc7", 2, 5)):
        assert not same(steps[first][layer], steps[again][layer])
        assert same(steps[again][layer], steps[5][layer])


def test_initial_weights_go_to_the_features_of_each_stage(places, tmp_path):
    path = tmp_path / "initial.caffemodel.h5"
    with places.configuration("mnc_3stage"):
        initial = caffe.Net(str(places.prototxt("mnc_3stage", "train")), caffe.TRAIN)
        initial.save_hdf5(str(path))
        net = caffe.Net(str(places.prototxt("mnc_separate", "train")), caffe.TRAIN)
        start(net, Step("mnc_separate", 1), {}, path)
    for ending in ENDINGS.values():
        np.testing.assert_array_equal(net.params[f"conv3_1{ending}"][0].data,
                                      initial.params["conv3_1"][0].data)


def test_every_scheme_gets_the_same_number_of_iterations():
    for scheme in SCHEMES.values():
        assert sum(shares(1000, scheme)) == 1000
        assert max(shares(1000, scheme)) - min(shares(1000, scheme)) <= 1


def test_the_configuration_is_the_tasks_only_meanwhile(places):
    before = cfg.MASK_SIZE, cfg.EXP_DIR
    with places.configuration("mnc_5stage_paper"):
        assert cfg.MASK_SIZE == 28 and cfg.TRAIN.RPN_POST_NMS_TOP_N == 20
    assert before == (cfg.MASK_SIZE, cfg.EXP_DIR)
