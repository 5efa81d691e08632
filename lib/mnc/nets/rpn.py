"""Stage 1 as prototxt: scores and box deltas of the anchors, their losses, the proposals."""

from __future__ import annotations

from collections.abc import Sequence

from mnc.nets.backbones import Sizes, filler
from mnc.nets.layers import ZERO, NetWriter, convolution, flags, python, relu, reshape, softmax_loss

RPN_TARGETS = ("rpn_labels rpn_bbox_targets rpn_bbox_inside_weights rpn_bbox_outside_weights")
BEYOND = 10000              # pixels: all anchors
BOX_TARGETS = "rois labels bbox_targets bbox_inside_weights bbox_outside_weights"


def anchor_scores(net: NetWriter, sizes: Sizes, anchors: int) -> None:
    """rpn_cls_score (1, 2A, H, W) and rpn_bbox_pred (1, 4A, H, W)

    Of a pyramid (1, 2A, cells of all maps, 1) and (1, 4A, cells of all maps, 1), by the same
    weights on each map.
    """
    outputs = (("rpn_cls_score", 2 * anchors), ("rpn_bbox_pred", 4 * anchors))
    for features in sizes.maps:
        ending = f"_{features}" if sizes.levels else ""
        _scores_of_map(net, sizes, features, ending, outputs)
        for name, channels in outputs if sizes.levels else ():
            reshape(net, f"{name}{ending}_cells", f"{name}{ending}", 0, channels, -1, 1)
    for name, _ in outputs if sizes.levels else ():
        net.layer(name, "Concat", [f"{name}_{each}_cells" for each in sizes.maps], name,
                  concat_param={"axis": 2})
    reshape(net, "rpn_cls_score_reshape", "rpn_cls_score", 0, 2, -1, 0)


def _scores_of_map(net: NetWriter, sizes: Sizes, features: str, ending: str,
                   outputs: Sequence[tuple[str, int]]) -> None:
    slash = net.convention.slash
    hidden = f"rpn{slash}output{ending}"
    convolution(net, f"rpn_conv{slash}3x3{ending}", features, hidden, shared=(
        f"rpn_conv{slash}3x3" if ending else None), convolution_param={
        "num_output": sizes.rpn, "pad": 1, "kernel_size": 3, "stride": 1,
        "weight_filler": sizes.fillers.rpn, "bias_filler": ZERO})
    relu(net, f"rpn_relu{slash}3x3{ending}", hidden)
    for name, channels in outputs:
        convolution(net, f"{name}{ending}", hidden, f"{name}{ending}",
                    shared=name if ending else None, convolution_param={
                        "num_output": channels, "pad": 0, "kernel_size": 1, "stride": 1,
                        "weight_filler": filler("gaussian", std=0.01), "bias_filler": ZERO})


def anchor_probabilities(net: NetWriter, anchors: int) -> None:
    net.layer("rpn_cls_prob", "Softmax", "rpn_cls_score_reshape", "rpn_cls_prob")
    reshape(net, "rpn_cls_prob_reshape", "rpn_cls_prob", 0, 2 * anchors, -1, 0)


def test_proposals(net: NetWriter, sizes: Sizes) -> None:
    options = f"{{{stride(sizes)}, 'gradient_scale': 1}}"
    net.layer("proposal", "Python", _anchored(sizes), "rois",
              python_param=python("proposal_layer", "ProposalLayer", options))


def train_proposals(net: NetWriter, sizes: Sizes, tops: str, options: str) -> None:
    net.layer("proposal", "Python", _anchored(sizes), tops,
              propagate_down=flags("010" + "0" * len(sizes.levels)),
              python_param=python("proposal_layer", "ProposalLayer", options))


def _anchored(sizes: Sizes) -> str:
    """Bottoms of a proposal layer; of a pyramid also its maps, which say how many cells each has"""
    return " ".join(("rpn_cls_prob_reshape rpn_bbox_pred im_info", *_maps(sizes)))


def _maps(sizes: Sizes) -> Sequence[str]:
    return sizes.maps if sizes.levels else ()


def stride(sizes: Sizes) -> str:
    """The option of the layers that lay anchors: of each map."""
    return f"'feat_stride': {[*sizes.strides] if sizes.levels else sizes.feat_stride}"


def roi_targets(net: NetWriter, sizes: Sizes, bottoms: str, tops: str, bp_all: int) -> None:
    """What the later stages train on: a sample of the proposals and their targets."""
    net.layer("roi-data", "Python", bottoms, tops,
              propagate_down=flags("1" + "0" * (len(bottoms.split()) - 1)),
              python_param=python("proposal_target_layer", "ProposalTargetLayer",
                                  f"{{'num_classes': {sizes.classes}, 'bp_all': {bp_all}}}"))


def anchor_targets(net: NetWriter, sizes: Sizes, more_bottoms: str, options: str) -> None:
    """Of a pyramid anchors count also where they reach over the border: small ones begin there."""
    bottoms = ("rpn_cls_score gt_boxes im_info", more_bottoms, *_maps(sizes))
    if sizes.levels:
        options = f"{{{stride(sizes)}, 'allowed_border': {BEYOND}}}"
    net.layer("rpn-data", "Python", " ".join(bottoms), RPN_TARGETS,
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
