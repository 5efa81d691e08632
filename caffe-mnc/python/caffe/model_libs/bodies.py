"""The nets that SSD begins with: ZF, VGG16, ResNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from caffe.model_libs.layers import ConvBNLayer, ResBody
from caffe.net_spec import NetSpec
from caffe.net_spec import layers as L
from caffe.net_spec import params as P

FILLERS = {"weight_filler": {"type": "xavier"}, "bias_filler": {"type": "constant", "value": 0}}
LEARNED = {"param": [{"lr_mult": 1, "decay_mult": 1}, {"lr_mult": 2, "decay_mult": 0}], **FILLERS}
FROZEN = {"param": [{"lr_mult": 0, "decay_mult": 0}] * 2, **FILLERS}


def VGGNetBody(net: NetSpec, from_layer: str, need_fc: bool = True, fully_conv: bool = False,
               reduced: bool = False, dilated: bool = False, nopool: bool = False,
               dropout: bool = True, freeze_layers: Sequence[str] = (),
               dilate_pool4: bool = False) -> NetSpec:
    """VGG16 to fc7. fully_conv, reduced, dilated, no dropout: as SSD takes it

    fully_conv: fc6 and fc7 are convolutions, of 1024 outputs if reduced (else 4096). dilated: pool5
    keeps the size. nopool: convolutions of stride 2 instead of pooling.
    """
    _expect(net, from_layer)
    last, dilation = from_layer, 1
    for stage, (width, depth) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3)), 1):
        last = _convolutions(net, last, stage, width, depth)
        if nopool:
            last = _strided(net, last, stage, width, depth, stride=2)
        elif stage == 4 and dilate_pool4:
            last, dilation = _pool(net, last, "pool4", kernel_size=3, stride=1, pad=1), 2
        else:
            last = _pool(net, last, f"pool{stage}", kernel_size=2, stride=2)
    last = _convolutions(net, last, 5, 512, 3, dilation=dilation, pad=dilation)
    if need_fc:
        if nopool:
            last = _strided(net, last, 5, 512, 3, stride=1 if dilated else 2)
        elif dilated:
            last = _pool(net, last, "pool5", pad=1, kernel_size=3, stride=1)
        else:
            last = _pool(net, last, "pool5", kernel_size=2, stride=2)
        kernel = 3 if reduced else 7
        spread = dilation * ((6 if dilated else 3) if reduced else (2 if dilated else 1))
        window = {"pad": spread * (kernel - 1) // 2, "kernel_size": kernel, "dilation": spread}
        _head(net, last, window if fully_conv else None, reduced, dropout)
    return _freeze(net, freeze_layers)


def ZFNetBody(net: NetSpec, from_layer: str, need_fc: bool = True, fully_conv: bool = False,
              reduced: bool = False, dilated: bool = False, dropout: bool = True,
              need_fc8: bool = False, freeze_layers: Sequence[str] = ()) -> NetSpec:
    """The net of Zeiler and Fergus to fc7, or with need_fc8 to its 1000 probabilities

    The options are those of VGGNetBody.
    """
    _expect(net, from_layer)
    last = from_layer
    for stage, (width, kernel) in enumerate(((96, 7), (256, 5)), 1):
        last = _conv(net, last, f"conv{stage}", f"relu{stage}", num_output=width,
                     kernel_size=kernel, pad=kernel // 2, stride=2)
        net[f"norm{stage}"] = L.LRN(net[last], local_size=3, alpha=0.00005, beta=0.75,
                                    norm_region=P.LRN.WITHIN_CHANNEL, engine=P.LRN.CAFFE)
        last = _pool(net, f"norm{stage}", f"pool{stage}", pad=1, kernel_size=3, stride=2)
    for stage, width in ((3, 384), (4, 384), (5, 256)):
        last = _conv(net, last, f"conv{stage}", f"relu{stage}", num_output=width, kernel_size=3,
                     pad=1)
    if need_fc:
        last = _pool(net, last, "pool5", pad=1, kernel_size=3, stride=1 if dilated else 2)
        window = {(True, True): {"pad": 5, "kernel_size": 3, "dilation": 5},
                  (True, False): {"pad": 5, "kernel_size": 6, "dilation": 2},
                  (False, True): {"pad": 2, "kernel_size": 3, "dilation": 2},
                  (False, False): {"pad": 2, "kernel_size": 6}}[dilated, reduced]
        last = _head(net, last, window if fully_conv else None, reduced, dropout)
    if need_fc8:
        net.fc8 = L.Convolution(net[last], num_output=1000, kernel_size=1, **LEARNED) \
            if fully_conv else L.InnerProduct(net[last], num_output=1000)
        net.prob = L.Softmax(net.fc8)
    return _freeze(net, freeze_layers)


def ResNet101Body(net: NetSpec, from_layer: str, use_pool5: bool = True,
                  use_dilation_conv5: bool = False, **bn_param: Any) -> NetSpec:
    """ResNet-101 to res5c, or to the mean over the image (pool5)"""
    return _resnet(net, from_layer, (3, 22), use_pool5, use_dilation_conv5, bn_param)


def ResNet152Body(net: NetSpec, from_layer: str, use_pool5: bool = True,
                  use_dilation_conv5: bool = False, **bn_param: Any) -> NetSpec:
    """ResNet-152 to res5c, or to the mean over the image (pool5)"""
    return _resnet(net, from_layer, (7, 35), use_pool5, use_dilation_conv5, bn_param)


def _resnet(net: NetSpec, from_layer: str, more: tuple[int, int], use_pool5: bool,
            dilated: bool, bn_param: dict[str, Any]) -> NetSpec:
    """more: how many blocks follow the first of stages 3 and 4"""
    ConvBNLayer(net, from_layer, "conv1", use_bn=True, use_relu=True, num_output=64, kernel_size=7,
                pad=3, stride=2, bn_prefix="bn_", bn_postfix="", scale_prefix="scale_",
                scale_postfix="", **bn_param)
    last = _pool(net, "conv1", "pool1", kernel_size=3, stride=2)
    blocks = {2: ["a", "b", "c"], 3: ["a", *(f"b{i}" for i in range(1, more[0] + 1))],
              4: ["a", *(f"b{i}" for i in range(1, more[1] + 1))], 5: ["a", "b", "c"]}
    for stage, names in blocks.items():
        width = 16 << stage
        stride = 1 if stage == 2 or (stage == 5 and dilated) else 2
        for name in names:
            first = name == "a"
            ResBody(net, last, f"{stage}{name}", width, width, 4 * width,
                    stride=stride if first else 1, use_branch1=first,
                    dilation=2 if stage == 5 and dilated else 1, **bn_param)
            last = f"res{stage}{name}"
    if use_pool5:
        net.pool5 = L.Pooling(net[last], pool=P.Pooling.AVE, global_pooling=True)
    return net


def _expect(net: NetSpec, from_layer: str) -> None:
    if from_layer not in net.tops:
        raise ValueError(f'the net has no top "{from_layer}" to begin with; it has '
                         f"{', '.join(net.tops) or 'none'}")


def _conv(net: NetSpec, last: str, name: str, relu: str, **options: Any) -> str:
    net[name] = L.Convolution(net[last], **options, **LEARNED)
    net[relu] = L.ReLU(net[name], in_place=True)
    return relu


def _convolutions(net: NetSpec, last: str, stage: int, width: int, depth: int,
                  **window: Any) -> str:
    for i in range(1, depth + 1):
        last = _conv(net, last, f"conv{stage}_{i}", f"relu{stage}_{i}", num_output=width,
                     **{"pad": 1, "kernel_size": 3, **window})
    return last


def _strided(net: NetSpec, last: str, stage: int, width: int, depth: int, stride: int) -> str:
    name = f"conv{stage}_{depth + 1}"
    net[name] = L.Convolution(net[last], num_output=width, pad=1, kernel_size=3, stride=stride,
                              **LEARNED)
    return name


def _pool(net: NetSpec, last: str, name: str, **window: int) -> str:
    net[name] = L.Pooling(net[last], pool=P.Pooling.MAX, **window)
    return name


def _head(net: NetSpec, last: str, window: dict[str, int] | None, reduced: bool,
          dropout: bool) -> str:
    """fc6 and fc7, convolutions if there is a window for fc6"""
    for number, shape in ((6, window), (7, {"kernel_size": 1})):
        if window is None or shape is None:
            net[f"fc{number}"] = L.InnerProduct(net[last], num_output=4096)
        else:
            net[f"fc{number}"] = L.Convolution(net[last], num_output=1024 if reduced else 4096,
                                               **shape, **LEARNED)
        last = f"relu{number}"
        net[last] = L.ReLU(net[f"fc{number}"], in_place=True)
        if dropout:
            net[f"drop{number}"] = L.Dropout(net[last], dropout_ratio=0.5, in_place=True)
    return last


def _freeze(net: NetSpec, names: Sequence[str]) -> NetSpec:
    for name in names:
        if name in net.tops:
            net.update(name, FROZEN)
    return net
