"""Faster R-CNN, trained end to end, as prototxt: boxes alone, from warped RoIs."""

from __future__ import annotations

from mnc.nets import heads, rpn
from mnc.nets.backbones import Sizes
from mnc.nets.features import backbone
from mnc.nets.layers import (
    Convention,
    NetWriter,
    box_loss,
    probability,
    python,
    roi_warping,
    softmax_loss,
)

CONVENTION = Convention(named=False, test_fillers=True, slash="/")


def train_net(name: str, sizes: Sizes, anchors: int) -> str:
    net = NetWriter(name, "TRAIN", CONVENTION)
    net.comment("the image and its ground truth")
    net.layer("input-data", "Python", top="data im_info gt_boxes",
              python_param=python("mnc_data_layer", "MNCDataLayer",
                                  f"{{'num_classes': {sizes.classes}}}"))
    _features(net, sizes, anchors)
    rpn.anchor_targets(net, sizes, "data", rpn.stride(sizes))
    rpn.anchor_losses(net)
    rpn.anchor_probabilities(net, anchors)
    rpn.train_proposals(net, sizes, "rpn_rois", f"{{{rpn.stride(sizes)}, 'use_clip': 0}}")
    rpn.roi_targets(net, sizes, "rpn_rois gt_boxes im_info", rpn.BOX_TARGETS, bp_all=0)
    vector = _region(net, sizes)
    heads.class_scores(net, sizes, "cls", vector)
    softmax_loss(net, "loss_cls", "cls_score", "labels", "loss_cls", loss_param=None)
    heads.box_deltas(net, sizes, vector)
    box_loss(net, "", "loss_bbox")
    return net.text()


def test_net(name: str, sizes: Sizes, anchors: int) -> str:
    net = NetWriter(name, "TEST", CONVENTION)
    net.input("data", 1, 3, 224, 224)
    net.input("im_info", 1, 3)
    _features(net, sizes, anchors)
    rpn.anchor_probabilities(net, anchors)
    rpn.test_proposals(net, sizes)
    vector = _region(net, sizes)
    heads.class_scores(net, sizes, "cls", vector)
    probability(net, "cls", "", loss_param=None)
    heads.box_deltas(net, sizes, vector)
    return net.text()


def _features(net: NetWriter, sizes: Sizes, anchors: int) -> None:
    net.comment("convolutional features, shared by both stages")
    backbone(net, sizes)
    net.comment("stage 1: box proposals")
    rpn.anchor_scores(net, sizes, anchors)


def _region(net: NetWriter, sizes: Sizes) -> str:
    heads.context(net, sizes)
    net.comment("stage 2: classes and boxes")
    side, pooled = heads.path_side(sizes), f"pool{sizes.block}"
    roi_warping(net, sizes, f"roi_{pooled} {pooled}", "", side, propagates=net.train)
    vector = heads.hidden(net, sizes, pooled, dropout=not sizes.head)
    return heads.joined(net, sizes, "join_context", [vector])
