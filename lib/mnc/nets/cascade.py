"""The cascade as prototxt: train and test net share every line that is the same in both.

Stages: 1 proposals (RPN), 2 masks, 3 classes and boxes; with five stages, 4 and 5 are 2 and 3 once
more, on the boxes that stage 3 regressed, with shared weights and the suffix `_ext` on every name.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mnc.nets import heads, rpn
from mnc.nets.backbones import Sizes
from mnc.nets.features import backbone
from mnc.nets.layers import (
    NetWriter,
    box_loss,
    flags,
    mode,
    pool,
    probability,
    python,
    roi_warping,
    softmax_loss,
)


def train_net(name: str, sizes: Sizes, anchors: int, stages: int = 5) -> str:
    net = NetWriter(name, "TRAIN")
    net.comment("the image and its ground truth")
    net.layer("input-data", "Python", top="data im_info gt_boxes gt_masks mask_info",
              python_param=python("mnc_data_layer", "MNCDataLayer",
                                  f"{{ 'num_classes': {sizes.classes} }}"))
    _body(net, sizes, anchors, stages)
    return net.text()


def test_net(name: str, sizes: Sizes, anchors: int, stages: int = 5) -> str:
    net = NetWriter(name, "TEST")
    net.input("data", 1, 3, 224, 224)
    net.input("im_info", 1, 3)
    _body(net, sizes, anchors, stages)
    return net.text()


def _body(net: NetWriter, sizes: Sizes, anchors: int, stages: int) -> None:
    stage2, stage3 = of_stage(sizes, 2), of_stage(sizes, 3)
    net.comment("convolutional features, " + (
        "a backbone each for stages 1, 2 and 3" if sizes.separate else "shared by all stages"))
    for each in (sizes, stage2, stage3)[:3 if sizes.separate else 1]:
        backbone(net, each)
    net.comment("stage 1: box proposals")
    proposals(net, sizes, anchors)
    heads.context(net, stage3)
    for suffix, first in (("", 2), ("_ext", 4))[:stages // 2]:
        if suffix:
            net.comment("from the boxes of stage 3 to the RoIs of stage 4")
            stage_bridge(net, sizes)
        net.comment(f"stage {first}: masks")
        masks(net, stage2, suffix)
        net.comment(f"stage {first + 1}: classes and boxes")
        classes(net, stage3, suffix)


def of_stage(sizes: Sizes, stage: int) -> Sizes:
    """The sizes a stage works with: where features are separate, names end in _stageN."""
    if not sizes.separate:
        return sizes
    ending = f"_stage{stage}"
    layers: Any = sizes.backbone        # rows of tables that have names (no Stem)
    rows = tuple(replace(row, name=f"{row.name}{ending}") for row in layers)
    return replace(sizes, backbone=rows, features=f"{sizes.features}{ending}",
                   block=f"{sizes.block}{ending}")


def proposals(net: NetWriter, sizes: Sizes, anchors: int) -> None:
    rpn.anchor_scores(net, sizes, anchors)
    rpn.anchor_probabilities(net, anchors)
    if not net.train:
        rpn.test_proposals(net, sizes)
        return
    stride = rpn.stride(sizes)
    rpn.train_proposals(net, sizes, "rpn_rois rpn_rois_index",
                        f"{{ {stride}, {rpn.clipping(sizes)} }}")
    rpn.roi_targets(net, sizes, "rpn_rois gt_boxes im_info gt_masks mask_info rpn_rois_index",
                    f"{rpn.BOX_TARGETS} mask_targets mask_weight gt_masks_info fg_inds bg_inds",
                    bp_all=1)
    rpn.anchor_targets(net, sizes, "fg_inds bg_inds", f"{{{stride}}}")
    rpn.anchor_losses(net)


def masks(net: NetWriter, sizes: Sizes, s: str) -> None:
    """Warped features to a mask for each RoI; `s` is the suffix of every name."""
    features = warp(net, sizes, s)
    heads.mask_scores(net, sizes, features, s)
    net.layer(f"mask_output{s}", "Sigmoid", f"mask_pred{s}", f"mask_output{s}")
    mask_layer = python("mask_layer", "MaskLayer")
    if net.train:
        net.layer(f"mask_proposal{s}", "Python", f"mask_output{s} gt_masks gt_masks_info{s}",
                  f"mask_proposal{s} mask_proposal_label{s}", propagate_down=flags("100"),
                  python_param=mask_layer)
    else:
        net.layer(f"mask_proposal{s}", "Python", f"mask_output{s}", f"mask_proposal{s}",
                  python_param=mask_layer)
    side = sizes.warp // 2
    net.layer(f"mask_resize{s}", "MaskResize", f"mask_proposal{s}", f"mask_proposal_resize{s}",
              mask_resize_param={"output_height": side, "output_width": side, **mode(sizes)})


def warped(sizes: Sizes, s: str) -> str:
    return f"roi_interpolate_conv{sizes.block}{s}"


def warp(net: NetWriter, sizes: Sizes, s: str) -> str:
    """28x28 and max pooling to 14x14; returns the top.

    The second pass of the public test net warps to 14x14 at once; the exact one as in training.
    """
    top = warped(sizes, s)
    pooled = net.train or not s or sizes.exact
    side = sizes.warp if pooled else sizes.warp // 2
    roi_warping(net, sizes, f"{top}_premax" if pooled else top, s, side, propagates=pooled)
    if pooled:
        pool(net, top, f"{top}_premax")
    return top


def classes(net: NetWriter, sizes: Sizes, s: str) -> None:
    """Box path and masked path, joined, to class scores (box-level, mask-level) and box deltas."""
    features, block = warped(sizes, s), sizes.block
    if sizes.separate:
        warp(net, sizes, s)
    bottom = heads.halved(net, sizes, features, f"roi_interpolate_conv{block}_box{s}")
    box = heads.hidden(net, sizes, bottom, "", s)
    masked = f"roi_mask_conv{block}{s}"
    net.layer(f"mask_pooling{s}", "MaskPooling", f"{features} mask_proposal_resize{s}", masked,
              propagate_down=flags("11") if net.train else None)
    bottom = heads.halved(net, sizes, masked, f"roi_interpolate_conv{block}_mask{s}")
    mask = heads.hidden(net, sizes, bottom, "_mask", s)
    both = heads.joined(net, sizes, "join_box_mask", [mask, box], s)
    for name, label in (("cls", "labels"), ("seg_cls", "mask_proposal_label")):
        heads.class_scores(net, sizes, name, both, s)
        if net.train:
            softmax_loss(net, f"loss_{name}{s}", f"{name}_score{s}", f"{label}{s}",
                         f"{name}_loss{s}")
        else:
            probability(net, name, s)
    heads.box_deltas(net, sizes, both, s)
    if net.train:
        box_loss(net, s, f"bbox_loss{s}")
        heads.accuracies(net, f"mask_proposal_label{s}", f"labels{s}", s)


def stage_bridge(net: NetWriter, sizes: Sizes) -> None:
    if not net.train:
        net.layer("stage_bridge", "Python", "rois bbox_pred seg_cls_prob im_info", "rois_ext",
                  python_param=python("stage_bridge_layer", "StageBridgeLayer"))
        return
    probability(net, "seg_cls", "")
    options = (f"{{ 'feat_stride': {sizes.feat_stride}, {rpn.clipping(sizes)}, "
               f"'num_classes': {sizes.classes}}}")
    net.layer("stage_bridge", "Python",
              "rois bbox_pred seg_cls_prob gt_boxes gt_masks im_info mask_info",
              "rois_ext labels_ext mask_targets_ext mask_weight_ext gt_masks_info_ext "
              "bbox_targets_ext bbox_inside_weights_ext bbox_outside_weights_ext",
              propagate_down=flags("1100000"),
              python_param=python("stage_bridge_layer", "StageBridgeLayer", options))
