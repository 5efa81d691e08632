"""What is computed for each RoI, as prototxt. `s` is the suffix of every name in a pass."""

from __future__ import annotations

from mnc.nets.backbones import Sizes, filler
from mnc.nets.layers import (
    POOL_ALL,
    NetWriter,
    bottleneck,
    filled,
    flags,
    head_params,
    inner_product,
    output,
    pool,
    relu,
    reshape,
)


def mask_scores(net: NetWriter, sizes: Sizes, features: str, s: str = "") -> None:
    """Features of a RoI to the S*S scores of its mask, and in training their loss."""
    if sizes.mask_convs:
        convolved_mask(net, sizes, features, s)
    else:
        fully_connected_mask(net, sizes, features, s)
    if net.train:
        net.layer(f"loss_mask{s}", "SigmoidCrossEntropyLoss",
                  f"mask_pred{s} mask_targets{s} mask_weight{s}", f"loss_mask{s}",
                  propagate_down=flags("100"), loss_weight=sizes.mask_loss)


def fully_connected_mask(net: NetWriter, sizes: Sizes, features: str, s: str) -> None:
    """A hidden layer and a score a pixel, as in the paper."""
    inner_product(net, "fc6_maskest", features, s, sizes.mask_hidden,
                  filled(net, sizes.fillers.mask_hidden, bias=True))
    relu(net, f"relu6_maskest{s}", f"fc6_maskest{s}")
    inner_product(net, "mask_pred", f"fc6_maskest{s}", s, sizes.mask_size ** 2,
                  filled(net, filler("gaussian", std=0.001), bias=True))


def convolved_mask(net: NetWriter, sizes: Sizes, features: str, s: str) -> None:
    """Two 3x3 convolutions, a transposed one that doubles the side, and a score a pixel."""
    fills = filled(net, sizes.fillers.mask_hidden, bias=True)
    bottom = features
    for i in (1, 2):
        top = f"conv_maskest{i}"
        net.layer(f"{top}{s}", "Convolution", bottom, f"{top}{s}", param=head_params(net, top),
                  convolution_param={"num_output": sizes.mask_convs, "pad": 1, "kernel_size": 3,
                                     **fills})
        relu(net, f"relu_maskest{i}{s}", f"{top}{s}")
        bottom = f"{top}{s}"
    net.layer(f"up_maskest{s}", "Deconvolution", bottom, f"up_maskest{s}",
              param=head_params(net, "up_maskest"), convolution_param={
                  "num_output": sizes.mask_convs // 2, "kernel_size": 2, "stride": 2, **fills})
    relu(net, f"relu_maskest_up{s}", f"up_maskest{s}")
    net.layer(f"mask_map{s}", "Convolution", f"up_maskest{s}", f"mask_map{s}",
              param=head_params(net, "mask_map"), convolution_param={
                  "num_output": 1, "kernel_size": 1,
                  **filled(net, filler("gaussian", std=0.01), bias=True)})
    net.layer(f"mask_pred{s}", "Flatten", f"mask_map{s}", f"mask_pred{s}")


def hidden(net: NetWriter, sizes: Sizes, bottom: str, path: str = "", s: str = "",
           dropout: bool = False) -> str:
    """Features of a RoI to one vector: by fc6 and fc7, or by conv5 and its mean; returns its name.

    path: "" on the box path, "_mask" on the masked one; each has weights of its own.
    """
    if sizes.head:
        return conv5(net, sizes, bottom, f"{path}{s}", path)
    for name, units in (("fc6", sizes.fc6), ("fc7", sizes.fc7)):
        top, number = f"{name}{path}{s}", name[-1]
        inner_product(net, f"{name}{path}", bottom, s, units, filled(net, sizes.fillers.hidden))
        relu(net, f"relu{number}{path}{s}", top)
        if dropout:
            net.layer(f"drop{number}{path}{s}", "Dropout", top, top,
                      dropout_param={"dropout_ratio": 0.5})
        bottom = top
    return bottom


def conv5(net: NetWriter, sizes: Sizes, bottom: str, ending: str, path: str) -> str:
    """ResNet's conv5 and global average pooling: (R, C, h, w) -> (R, 4C', 1, 1)"""
    shared = path if net.convention.named or sizes.context else None
    for row in sizes.head:
        bottom = bottleneck(net, sizes, row, bottom, ending, shared)
    top = f"pool_{bottom}"
    net.layer(top, "Pooling", bottom, top, pooling_param=POOL_ALL)
    return top


def halved(net: NetWriter, sizes: Sizes, bottom: str, name: str, top: str | None = None) -> str:
    """2x2 max pooling before fc6; conv5 of a ResNet strides itself. Returns the top."""
    if sizes.head:
        return bottom
    pool(net, name, bottom, top)
    return top or name


def path_side(sizes: Sizes) -> int:
    """Side of the features that a path takes: a quarter of the warped RoI; conv5 halves itself."""
    return sizes.warp // (2 if sizes.head else 4)


# --- global context ------------------------------------------------------------------------------

def context(net: NetWriter, sizes: Sizes) -> None:
    """One vector of the whole image, (1, D, 1, 1): what `joined` adds to those of the RoIs.

    A ResNet applies the conv5 of the box path to the whole map; others average the map and have a
    layer fc7_context.
    """
    if not sizes.context:
        return
    net.comment("global context: the whole image as one more region")
    if sizes.head:
        reshape(net, "context", conv5(net, sizes, sizes.features, "_context", ""), 0, 0, 1, 1)
        return
    net.layer("pool_context", "Pooling", sizes.features, "pool_context", pooling_param=POOL_ALL)
    inner_product(net, "fc7_context", "pool_context", "", sizes.fc7,
                  filled(net, sizes.fillers.hidden or filler("gaussian", std=0.01), bias=True))
    relu(net, "relu7_context", "fc7_context")
    reshape(net, "context", "fc7_context", 0, -1, 1, 1)


def joined(net: NetWriter, sizes: Sizes, name: str, parts: list[str], s: str = "") -> str:
    """The vectors of a RoI in a row, and that of its image if the net has one; returns the top."""
    if sizes.context:
        parts = [*parts, roi_context(net, sizes, s)]
    if len(parts) == 1:
        return parts[0]
    net.layer(f"{name}{s}", "Concat", parts, f"{name}{s}", concat_param={"axis": 1})
    return f"{name}{s}"


def roi_context(net: NetWriter, sizes: Sizes, s: str) -> str:
    """The image's vector, a row a RoI: pooled from a map of one cell, on which every RoI falls."""
    top = f"context_of_roi{s}"
    net.layer(top, "ROIPooling", f"context rois{s}", top,
              propagate_down=flags("10") if net.train else None,
              roi_pooling_param={"pooled_h": 1, "pooled_w": 1, "spatial_scale": 0.0})
    if sizes.head:
        return top
    reshape(net, f"{top}_row", top, 0, -1)
    return f"{top}_row"


# --- outputs -------------------------------------------------------------------------------------

def class_scores(net: NetWriter, sizes: Sizes, name: str, bottom: str, s: str = "") -> None:
    """name: cls for the class by box, seg_cls for the class by mask."""
    output(net, f"{name}_score", bottom, s, sizes.classes, std=0.01)


def box_deltas(net: NetWriter, sizes: Sizes, bottom: str, s: str = "") -> None:
    output(net, "bbox_pred", bottom, s, 4 * sizes.classes, std=0.001)


def accuracies(net: NetWriter, seg_label: str, box_label: str, s: str = "") -> None:
    net.layer(f"accuracy_seg{s}", "Accuracy", f"seg_cls_score{s} {seg_label}", f"accuracy_seg{s}")
    net.layer(f"accuracy_det{s}", "Accuracy", f"cls_score{s} {box_label}", f"accuracy_det{s}")
