"""Stage 1 as prototxt: scores and box deltas of the anchors, their losses, the proposals."""

from __future__ import annotations

from mnc.nets.backbones import Sizes, filler
from mnc.nets.layers import ZERO, NetWriter, convolution, flags, python, relu, reshape, softmax_loss

RPN_TARGETS = ("rpn_labels rpn_bbox_targets rpn_bbox_inside_weights rpn_bbox_outside_weights")
BOX_TARGETS = "rois labels bbox_targets bbox_inside_weights bbox_outside_weights"


def anchor_scores(net: NetWriter, sizes: Sizes, anchors: int) -> None:
    slash = net.convention.slash
    hidden = f"rpn{slash}output"
    convolution(net, f"rpn_conv{slash}3x3", sizes.features, hidden, convolution_param={
        "num_output": sizes.rpn, "pad": 1, "kernel_size": 3, "stride": 1,
        "weight_filler": sizes.fillers.rpn, "bias_filler": ZERO})
    relu(net, f"rpn_relu{slash}3x3", hidden)
    for name, outputs in (("rpn_cls_score", 2 * anchors), ("rpn_bbox_pred", 4 * anchors)):
        convolution(net, name, hidden, name, convolution_param={
            "num_output": outputs, "pad": 0, "kernel_size": 1, "stride": 1,
            "weight_filler": filler("gaussian", std=0.01), "bias_filler": ZERO})
    reshape(net, "rpn_cls_score_reshape", "rpn_cls_score", 0, 2, -1, 0)


def anchor_probabilities(net: NetWriter, anchors: int) -> None:
    net.layer("rpn_cls_prob", "Softmax", "rpn_cls_score_reshape", "rpn_cls_prob")
    reshape(net, "rpn_cls_prob_reshape", "rpn_cls_prob", 0, 2 * anchors, -1, 0)


def test_proposals(net: NetWriter, sizes: Sizes) -> None:
    options = f"{{'feat_stride': {sizes.feat_stride}, 'gradient_scale': 1}}"
    net.layer("proposal", "Python", "rpn_cls_prob_reshape rpn_bbox_pred im_info", "rois",
              python_param=python("proposal_layer", "ProposalLayer", options))


def train_proposals(net: NetWriter, tops: str, options: str) -> None:
    net.layer("proposal", "Python", "rpn_cls_prob_reshape rpn_bbox_pred im_info", tops,
              propagate_down=flags("010"),
              python_param=python("proposal_layer", "ProposalLayer", options))


def roi_targets(net: NetWriter, sizes: Sizes, bottoms: str, tops: str, bp_all: int) -> None:
    """What the later stages train on: a sample of the proposals and their targets."""
    net.layer("roi-data", "Python", bottoms, tops,
              propagate_down=flags("1" + "0" * (len(bottoms.split()) - 1)),
              python_param=python("proposal_target_layer", "ProposalTargetLayer",
                                  f"{{'num_classes': {sizes.classes}, 'bp_all': {bp_all}}}"))


def anchor_targets(net: NetWriter, more_bottoms: str, options: str) -> None:
    net.layer("rpn-data", "Python", f"rpn_cls_score gt_boxes im_info {more_bottoms}", RPN_TARGETS,
              python_param=python("anchor_target_layer", "AnchorTargetLayer", options))


def anchor_losses(net: NetWriter) -> None:
    softmax_loss(net, "rpn_loss_cls", "rpn_cls_score_reshape", "rpn_labels", "rpn_cls_loss")
    net.layer("rpn_loss_bbox", "SmoothL1Loss",
              "rpn_bbox_pred rpn_bbox_targets rpn_bbox_inside_weights rpn_bbox_outside_weights",
              "rpn_loss_bbox", loss_weight=1, smooth_l1_loss_param={"sigma": 3.0})


def clipping(sizes: Sizes) -> str:
    """The options that limit the gradient of boxes."""
    if sizes.clip_base is None:
        return "'use_clip': 0"
    return f"'use_clip': 1, 'clip_base': {sizes.clip_base}"
