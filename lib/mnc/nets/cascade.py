"""The five-stage cascade as prototxt: train and test net share every line that is the same in both.

Stages: 1 proposals (RPN), 2 masks, 3 classes and boxes; 4 and 5 are 2 and 3 once more, on the
boxes that stage 3 regressed, with shared weights and the suffix `_ext` on every name.
"""

from __future__ import annotations

from mnc.nets.backbones import Conv, Rescale, Sizes, filler
from mnc.nets.prototxt import Enum, NetText

CLIP_BASE = 512  # gradients at proposals and bridge are clipped to 1 / CLIP_BASE
VALID_LABELS = {"ignore_label": -1, "normalize": True}
POOL_2X2 = {"pool": Enum("MAX"), "kernel_size": 2, "stride": 2}
ZERO = filler("constant", value=0.0)


def train_net(name: str, sizes: Sizes, anchors: int) -> str:
    net = NetText(name, "TRAIN")
    net.comment("the image and its ground truth")
    net.layer("input-data", "Python", top="data im_info gt_boxes gt_masks mask_info",
              python_param=python("mnc_data_layer", "MNCDataLayer",
                                  f"{{ 'num_classes': {sizes.classes} }}"))
    _body(net, sizes, anchors)
    return net.text()


def test_net(name: str, sizes: Sizes, anchors: int) -> str:
    net = NetText(name, "TEST")
    net.input("data", 1, 3, 224, 224)
    net.input("im_info", 1, 3)
    _body(net, sizes, anchors)
    return net.text()


def _body(net: NetText, sizes: Sizes, anchors: int) -> None:
    net.comment("convolutional features, shared by all stages")
    backbone(net, sizes)
    net.comment("stage 1: box proposals")
    proposals(net, sizes, anchors)
    for suffix, first in (("", 2), ("_ext", 4)):
        net.comment(f"stage {first}: masks")
        masks(net, sizes, suffix)
        net.comment(f"stage {first + 1}: classes and boxes")
        classes(net, sizes, suffix)
        if not suffix:
            net.comment("from the boxes of stage 3 to the RoIs of stage 4")
            stage_bridge(net, sizes)


# --- parts ---------------------------------------------------------------------------------------

def backbone(net: NetText, sizes: Sizes) -> None:
    bottom = "data"
    if sizes.input_scale:
        bottom = "data_scaled"
        net.layer(bottom, "Power", "data", bottom, power_param={"scale": sizes.input_scale})
    for row in sizes.backbone:
        if isinstance(row, Conv):
            top = f"conv{row.name}"
            convolution(net, top, bottom, top, learn=row.learn, convolution_param={
                "num_output": row.channels, "pad": row.kernel // 2, "kernel_size": row.kernel,
                "stride": row.stride if row.stride != 1 else None,
                **_train_filler(net, sizes.fillers.conv)})
            if row.norm:
                normalization(net, row.name, top)
            net.layer(f"relu{row.name}", "ReLU", top, top)
        elif isinstance(row, Rescale):
            top = row.name
            net.layer(top, "Power", bottom, top, power_param={"scale": row.factor})
        else:
            top = f"pool{row.name}"
            net.layer(top, "Pooling", bottom, top, pooling_param=POOL_2X2)
        bottom = top


def normalization(net: NetText, name: str, blob: str) -> None:
    """Each channel of each image to mean 0 and deviation 1, in training and test alike, then scale and shift."""
    net.layer(f"bn{name}", "BatchNorm", blob, blob, batch_norm_param={"use_global_stats": False})
    net.layer(f"scale{name}", "Scale", blob, blob, scale_param={"bias_term": True})


def proposals(net: NetText, sizes: Sizes, anchors: int) -> None:
    convolution(net, "rpn_conv_3x3", "conv5_3", "rpn_output", convolution_param={
        "num_output": sizes.rpn, "pad": 1, "kernel_size": 3, "stride": 1,
        "weight_filler": sizes.fillers.rpn, "bias_filler": ZERO})
    net.layer("rpn_relu_3x3", "ReLU", "rpn_output", "rpn_output")
    for name, outputs in (("rpn_cls_score", 2 * anchors), ("rpn_bbox_pred", 4 * anchors)):
        convolution(net, name, "rpn_output", name, convolution_param={
            "num_output": outputs, "pad": 0, "kernel_size": 1, "stride": 1,
            "weight_filler": filler("gaussian", std=0.01), "bias_filler": ZERO})
    reshape(net, "rpn_cls_score_reshape", "rpn_cls_score", 0, 2, -1, 0)
    net.layer("rpn_cls_prob", "Softmax", "rpn_cls_score_reshape", "rpn_cls_prob")
    reshape(net, "rpn_cls_prob_reshape", "rpn_cls_prob", 0, 2 * anchors, -1, 0)
    (_train_proposals if net.train else _test_proposals)(net, sizes)


def _test_proposals(net: NetText, sizes: Sizes) -> None:
    options = f"{{'feat_stride': {sizes.feat_stride}, 'gradient_scale': 1}}"
    net.layer("proposal", "Python", "rpn_cls_prob_reshape rpn_bbox_pred im_info", "rois",
              python_param=python("proposal_layer", "ProposalLayer", options))


def _train_proposals(net: NetText, sizes: Sizes) -> None:
    stride = sizes.feat_stride
    net.layer("proposal", "Python", "rpn_cls_prob_reshape rpn_bbox_pred im_info",
              "rpn_rois rpn_rois_index", propagate_down=_flags("010"),
              python_param=python("proposal_layer", "ProposalLayer", (
                  f"{{ 'feat_stride': {stride}, 'use_clip': 1, 'clip_base': {CLIP_BASE} }}")))
    net.layer("roi-data", "Python",
              "rpn_rois gt_boxes im_info gt_masks mask_info rpn_rois_index",
              "rois labels bbox_targets bbox_inside_weights bbox_outside_weights "
              "mask_targets mask_weight gt_masks_info fg_inds bg_inds",
              propagate_down=_flags("100000"),
              python_param=python("proposal_target_layer", "ProposalTargetLayer",
                                  f"{{'num_classes': {sizes.classes}, 'bp_all': 1}}"))
    net.layer("rpn-data", "Python", "rpn_cls_score gt_boxes im_info fg_inds bg_inds",
              "rpn_labels rpn_bbox_targets rpn_bbox_inside_weights rpn_bbox_outside_weights",
              python_param=python("anchor_target_layer", "AnchorTargetLayer",
                                  f"{{'feat_stride': {stride}}}"))
    net.layer("rpn_loss_cls", "SoftmaxWithLoss", "rpn_cls_score_reshape rpn_labels",
              "rpn_cls_loss", propagate_down=_flags("10"), loss_weight=1, loss_param=VALID_LABELS)
    net.layer("rpn_loss_bbox", "SmoothL1Loss",
              "rpn_bbox_pred rpn_bbox_targets rpn_bbox_inside_weights rpn_bbox_outside_weights",
              "rpn_loss_bbox", loss_weight=1, smooth_l1_loss_param={"sigma": 3.0})


def masks(net: NetText, sizes: Sizes, s: str) -> None:
    """Warped features to a mask for each RoI; `s` is the suffix of every name."""
    warp(net, sizes, s)
    inner_product(net, "fc6_maskest", f"roi_interpolate_conv5{s}", s, sizes.mask_hidden,
                  sizes.fillers.mask_hidden, bias=True)
    net.layer(f"relu6_maskest{s}", "ReLU", f"fc6_maskest{s}", f"fc6_maskest{s}")
    inner_product(net, "mask_pred", f"fc6_maskest{s}", s, sizes.mask_size ** 2,
                  filler("gaussian", std=0.001), bias=True)
    if net.train:
        net.layer(f"loss_mask{s}", "SigmoidCrossEntropyLoss",
                  f"mask_pred{s} mask_targets{s} mask_weight{s}", f"loss_mask{s}",
                  propagate_down=_flags("100"), loss_weight=2)
    net.layer(f"mask_output{s}", "Sigmoid", f"mask_pred{s}", f"mask_output{s}")
    mask_layer = python("mask_layer", "MaskLayer")
    if net.train:
        net.layer(f"mask_proposal{s}", "Python", f"mask_output{s} gt_masks gt_masks_info{s}",
                  f"mask_proposal{s} mask_proposal_label{s}", propagate_down=_flags("100"),
                  python_param=mask_layer)
    else:
        net.layer(f"mask_proposal{s}", "Python", f"mask_output{s}", f"mask_proposal{s}",
                  python_param=mask_layer)
    side = sizes.warp // 2
    net.layer(f"mask_resize{s}", "MaskResize", f"mask_proposal{s}", f"mask_proposal_resize{s}",
              mask_resize_param={"output_height": side, "output_width": side})


def warp(net: NetText, sizes: Sizes, s: str) -> None:
    """28x28 and max pooling to 14x14; the second pass of the test net warps to 14x14 at once."""
    top = f"roi_interpolate_conv5{s}"
    pooled = net.train or not s
    side = sizes.warp if pooled else sizes.warp // 2
    net.layer(f"{top}_premax" if pooled else top, "ROIWarping", f"conv5_3 rois{s}",
              f"{top}_premax" if pooled else top,
              propagate_down=_flags("11") if pooled else None,
              roi_warping_param={"pooled_h": side, "pooled_w": side,
                                 "spatial_scale": 1 / sizes.feat_stride})
    if pooled:
        pool(net, top, f"{top}_premax")


def classes(net: NetText, sizes: Sizes, s: str) -> None:
    """Box path and masked path, joined, to class scores (box-level, mask-level) and box deltas."""
    features = f"roi_interpolate_conv5{s}"
    pool(net, f"roi_interpolate_conv5_box{s}", features)
    hidden_layers(net, sizes, f"roi_interpolate_conv5_box{s}", "", s)
    net.layer(f"mask_pooling{s}", "MaskPooling", f"{features} mask_proposal_resize{s}",
              f"roi_mask_conv5{s}", propagate_down=_flags("11") if net.train else None)
    pool(net, f"roi_interpolate_conv5_mask{s}", f"roi_mask_conv5{s}")
    hidden_layers(net, sizes, f"roi_interpolate_conv5_mask{s}", "_mask", s)
    net.layer(f"join_box_mask{s}", "Concat", f"fc7_mask{s} fc7{s}", f"join_box_mask{s}",
              concat_param={"axis": 1})
    for name, label in (("cls", "labels"), ("seg_cls", "mask_proposal_label")):
        score = f"{name}_score{s}"
        inner_product(net, f"{name}_score", f"join_box_mask{s}", s, sizes.classes,
                      filler("gaussian", std=0.01), bias=True)
        if net.train:
            net.layer(f"loss_{name}{s}", "SoftmaxWithLoss", f"{score} {label}{s}",
                      f"{name}_loss{s}", propagate_down=_flags("10"), loss_weight=1,
                      loss_param=VALID_LABELS)
        else:
            probability(net, name, s)
    inner_product(net, "bbox_pred", f"join_box_mask{s}", s, 4 * sizes.classes,
                  filler("gaussian", std=0.001), bias=True)
    if net.train:
        _box_loss_and_accuracies(net, s)


def _box_loss_and_accuracies(net: NetText, s: str) -> None:
    net.layer(f"loss_bbox{s}", "SmoothL1Loss",
              f"bbox_pred{s} bbox_targets{s} bbox_inside_weights{s} bbox_outside_weights{s}",
              f"bbox_loss{s}", loss_weight=1)
    net.layer(f"accuracy_seg{s}", "Accuracy", f"seg_cls_score{s} mask_proposal_label{s}",
              f"accuracy_seg{s}")
    net.layer(f"accuracy_det{s}", "Accuracy", f"cls_score{s} labels{s}", f"accuracy_det{s}")


def stage_bridge(net: NetText, sizes: Sizes) -> None:
    if not net.train:
        net.layer("stage_bridge", "Python", "rois bbox_pred seg_cls_prob im_info", "rois_ext",
                  python_param=python("stage_bridge_layer", "StageBridgeLayer"))
        return
    probability(net, "seg_cls", "")
    options = (f"{{ 'feat_stride': {sizes.feat_stride}, 'use_clip': 1, 'clip_base': {CLIP_BASE}, "
               f"'num_classes': {sizes.classes}}}")
    net.layer("stage_bridge", "Python",
              "rois bbox_pred seg_cls_prob gt_boxes gt_masks im_info mask_info",
              "rois_ext labels_ext mask_targets_ext mask_weight_ext gt_masks_info_ext "
              "bbox_targets_ext bbox_inside_weights_ext bbox_outside_weights_ext",
              propagate_down=_flags("1100000"),
              python_param=python("stage_bridge_layer", "StageBridgeLayer", options))


# --- single layers -------------------------------------------------------------------------------

def convolution(net: NetText, name: str, bottom: str, top: str, learn: bool = True,
                **fields: object) -> None:
    if not learn:
        param = [multipliers(0, 0), multipliers(0, 0)]
    elif net.train:
        param = [multipliers(1, 1), multipliers(2, 1)]
    else:
        param = [multipliers(1, 1), multipliers(2, 0)]
    net.layer(name, "Convolution", bottom, top, param=param, **fields)


def inner_product(net: NetText, name: str, bottom: str, s: str, outputs: int,
                  weight_filler: dict | None, bias: bool = False) -> None:
    """A layer whose weights both passes share, through the parameter names NAME_w and NAME_b."""
    options = {"num_output": outputs, **_train_filler(net, weight_filler, bias)}
    net.layer(f"{name}{s}", "InnerProduct", bottom, f"{name}{s}",
              param=[{"name": f"{name}_w", **multipliers(1, 1)},
                     {"name": f"{name}_b", **multipliers(2 if net.train else 1, 1)}],
              inner_product_param=options)


def hidden_layers(net: NetText, sizes: Sizes, bottom: str, path: str, s: str) -> None:
    for name, units in (("fc6", sizes.fc6), ("fc7", sizes.fc7)):
        top = f"{name}{path}{s}"
        inner_product(net, f"{name}{path}", bottom, s, units, sizes.fillers.hidden)
        net.layer(f"relu{name[-1]}{path}{s}", "ReLU", top, top)
        bottom = top


def pool(net: NetText, top: str, bottom: str) -> None:
    net.layer(top, "Pooling", bottom, top, pooling_param={**POOL_2X2, "pad": 0})


def probability(net: NetText, name: str, s: str) -> None:
    net.layer(f"{name}_prob{s}", "Softmax", f"{name}_score{s}", f"{name}_prob{s}",
              loss_param=VALID_LABELS)


def reshape(net: NetText, top: str, bottom: str, *dims: int) -> None:
    net.layer(top, "Reshape", bottom, top, reshape_param={"shape": {"dim": list(dims)}})


def python(module: str, layer: str, param_str: str | None = None) -> dict[str, object]:
    return {"module": f"pylayer.{module}", "layer": layer, "param_str": param_str}


def multipliers(lr: int, decay: int) -> dict[str, object]:
    return {"lr_mult": lr, "decay_mult": decay}


def _train_filler(net: NetText, weights: dict | None, bias: bool = False) -> dict[str, object]:
    """Fillers matter for a net that starts without weights: the train net only."""
    if not net.train or weights is None:
        return {}
    return {"weight_filler": weights, **({"bias_filler": ZERO} if bias else {})}


def _flags(zeros_and_ones: str) -> list[bool]:
    return [c == "1" for c in zeros_and_ones]
