"""Convolutional feature masking as prototxt: masks and boxes come from outside, no RPN.

The features under a given mask and those of its box are classified; a mask is predicted as well.
"""

from __future__ import annotations

from mnc.nets import heads
from mnc.nets.backbones import Sizes
from mnc.nets.features import backbone
from mnc.nets.layers import (
    Convention,
    NetWriter,
    box_loss,
    flags,
    probability,
    python,
    softmax_loss,
)

CONVENTION = Convention(test_params=False)


def train_net(name: str, sizes: Sizes, anchors: int) -> str:
    net = NetWriter(name, "TRAIN", CONVENTION)
    net.comment("the image, a sample of its proposals, and their targets")
    net.layer("input-data", "Python",
              top="data rois masks box_labels mask_labels bbox_targets mask_targets "
                  "bbox_inside_weights bbox_outside_weights mask_weight",
              python_param=python("cfm_data_layer", "CFMDataLayer",
                                  f"{{'num_classes': {sizes.classes}}}"))
    _body(net, sizes)
    classes(net, sizes, "cls", "box_labels")
    heads.box_deltas(net, sizes, "join_box_mask")
    box_loss(net, "", "bbox_loss")
    classes(net, sizes, "seg_cls", "mask_labels")
    heads.accuracies(net, "mask_labels", "box_labels")
    return net.text()


def test_net(name: str, sizes: Sizes, anchors: int) -> str:
    net = NetWriter(name, "TEST", CONVENTION)
    side = sizes.warp // 2
    net.input("data", 1, 3, 224, 224)
    net.input("rois", 1, 5)
    net.input("masks", 1, 1, side, side)
    _body(net, sizes)
    for name in ("cls", "seg_cls"):
        heads.class_scores(net, sizes, name, "join_box_mask")
        probability(net, name, "")
    heads.box_deltas(net, sizes, "join_box_mask")
    return net.text()


def _body(net: NetWriter, sizes: Sizes) -> None:
    net.comment("convolutional features")
    backbone(net, sizes)
    heads.context(net, sizes)
    net.comment("box path")
    pooled, masked = f"roi_pooling_conv{sizes.block}", f"roi_mask_conv{sizes.block}"
    roi_pooling(net, sizes, pooled, heads.path_side(sizes))
    box = heads.hidden(net, sizes, pooled)
    net.comment("masked path")
    roi_pooling(net, sizes, f"{pooled}_mask", sizes.warp // 2)
    net.layer("mask_pooling", "MaskPooling", f"{pooled}_mask masks", masked,
              propagate_down=flags("10") if net.train else None)
    mask = heads.hidden(net, sizes, heads.halved(net, sizes, masked, masked, f"{masked}_pool"),
                        "_mask")
    net.comment("masks")
    heads.mask_scores(net, sizes, f"{pooled}_mask")
    if not net.train:
        net.layer("mask_prob", "Sigmoid", "mask_pred", "mask_prob")
    net.comment("classes and boxes")
    heads.joined(net, sizes, "join_box_mask", [mask, box])


def classes(net: NetWriter, sizes: Sizes, name: str, labels: str) -> None:
    """Scores and their loss."""
    heads.class_scores(net, sizes, name, "join_box_mask")
    softmax_loss(net, f"loss_{name}", f"{name}_score", labels, f"{name}_loss")


def roi_pooling(net: NetWriter, sizes: Sizes, top: str, side: int) -> None:
    net.layer(top, "ROIPooling", f"{sizes.features} rois", top,
              propagate_down=flags("10") if net.train else None,
              roi_pooling_param={"pooled_h": side, "pooled_w": side,
                                 "spatial_scale": 1 / sizes.feat_stride})
