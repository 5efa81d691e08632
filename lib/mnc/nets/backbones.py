"""The sizes of each net, as tables. Everything one may want to turn is here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Conv:
    """A 3x3 (by default) convolution that keeps the size at stride 1, followed by a ReLU."""

    name: str                 # "3_1" gives conv3_1 and relu3_1
    channels: int
    kernel: int = 3
    stride: int = 1
    learn: bool = True        # False: lr_mult 0, for layers that stay as ImageNet left them
    norm: bool = False        # BatchNorm (of this image alone) and Scale before the ReLU
    dilation: int = 1

    @property
    def top(self) -> str:
        return f"conv{self.name}"


@dataclass(frozen=True)
class Pool:
    name: str                 # "1" gives pool1
    kernel: int = 2
    pad: int = 0
    stride: int = 2
    floors: bool = False      # a last window that is not whole is left out

    @property
    def top(self) -> str:
        return f"pool{self.name}"


@dataclass(frozen=True)
class Rescale:
    """Pixels times a constant: filters that start from random values need inputs of unit size."""

    name: str                 # top and layer
    factor: float
    stride: int = 1

    @property
    def top(self) -> str:
        return self.name


@dataclass(frozen=True)
class LocalNorm:
    """Each value by those of its channel in the 3x3 window around it, as in the ImageNet ZF."""

    name: str                 # "1" gives norm1
    stride: int = 1

    @property
    def top(self) -> str:
        return f"norm{self.name}"


@dataclass(frozen=True)
class Stem:
    """ResNet's conv1 (7x7, stride 2) with its frozen BatchNorm and Scale, ReLU and 3x3 pooling."""

    channels: int
    bias: bool                # of conv1: the published ResNet-50 has one, ResNet-101 has not
    pad: int = 0              # of the pooling; with any, a window that is not whole is left out
    stride: int = 4
    top: str = "pool1"


@dataclass(frozen=True)
class Bottleneck:
    """ResNet's block: 1x1, 3x3 and 1x1 convolutions, each normalised, added to the input."""

    name: str                 # "3a" gives res3a_branch2a, bn3a_branch2a, ... and the blob res3a
    inner: int                # channels of the first two convolutions; the last has four times that
    stride: int = 1
    projects: bool = False    # the input goes through a 1x1 convolution too (branch1)
    learn: bool = True
    late: bool = False        # the 3x3 convolution has the stride, not the 1x1 before it
    dilation: int = 1         # of the 3x3

    @property
    def top(self) -> str:
        return f"res{self.name}"


@dataclass(frozen=True)
class LiteStem:
    """EfficientNet-Lite's first convolution, 3x3 and stride 2, and ReLU6."""

    channels: int
    rate: float = 1.0         # of learning; 0: it stays as ImageNet left it
    stride: int = 2
    top: str = "conv_stem"


@dataclass(frozen=True)
class Inverted:
    """EfficientNet-Lite's block: 1x1 to many channels, depthwise, 1x1 to few; ReLU6 between them.

    BatchNorm is part of the convolutions.
    """

    name: str                 # "3" gives block3_expand, block3_depthwise, block3_project, block3
    channels: int
    inputs: int               # channels; as many as `channels` at stride 1: the input is added
    expand: int = 6
    kernel: int = 3
    stride: int = 1
    wide: bool = False        # the depthwise window has one row and column more, in front: of
                              # stride 2 the release pads behind the map more than in front of it
    rate: float = 1.0
    dilation: int = 1         # of the depthwise

    @property
    def adds(self) -> bool:
        return self.stride == 1 and self.inputs == self.channels

    @property
    def top(self) -> str:
        return f"block{self.name}" if self.adds else f"block{self.name}_project"


# Each row says its `top`, the blob it ends in, and its `stride`, bottom's pixels a cell of that.
Row = Conv | Pool | Rescale | LocalNorm | Stem | Bottleneck | LiteStem | Inverted


@dataclass(frozen=True)
class Level:
    """A map of a feature pyramid."""

    name: str                 # "p2": of stride 2**2
    stride: int               # image pixels a cell
    source: str               # blob of the backbone; "": the level before, pooled


def filler(kind: str, **options: float) -> dict[str, object]:
    return {"type": kind, **options}


@dataclass(frozen=True)
class Fillers:
    """Weight fillers for training; None leaves a layer to the initial weights."""

    conv: dict | None = None          # backbone and conv5 of a RoI
    rpn: dict = field(default_factory=lambda: filler("gaussian", std=0.01))       # rpn_conv_3x3
    mask_hidden: dict = field(default_factory=lambda: filler("gaussian", std=0.001))  # fc6_maskest
    hidden: dict | None = None        # fc6, fc7, fc6_mask, fc7_mask
    pyramid: dict = field(default_factory=lambda: filler("msra"))     # 1x1 and 3x3 of its maps


@dataclass(frozen=True)
class Sizes:
    """One net: backbone, widths of the heads, fillers."""

    backbone: tuple[Row, ...]
    feat_stride: int                   # image pixels per cell of the features
    rpn: int                           # channels of rpn_conv_3x3
    mask_hidden: int                   # units of fc6_maskest
    fc6: int                           # units of fc6 and fc6_mask
    fc7: int                           # units of fc7 and fc7_mask
    classes: int                       # background included
    fillers: Fillers = Fillers()
    warp: int = 28                     # side of the warped RoI, before 2x2 max pooling
    mask_size: int = 21                # side of the mask that the net predicts (cfg.MASK_SIZE)
    features: str = "conv5_3"          # the blob that all stages share: the end of the backbone
    block: int | str = 5               # its number, in the names of what is sampled from it
    head: tuple[Bottleneck, ...] = ()  # ResNet's conv5, in place of fc6 and fc7
    mask_loss: int = 2                 # weight of the mask losses
    clip_base: int | None = 512        # gradients of boxes are clipped to 1 / clip_base; None: not
    exact: bool = False                # the paper's RoI warping and mask resizing, alike in test
    context: bool = False              # a feature of the whole image joins those of each RoI
    mask_convs: int = 0                # channels of the convolutions of a mask; 0: fc6_maskest
    separate: bool = False             # stages 2 and 3 have backbones of their own
    coarser: tuple[Row, ...] = ()      # what a pyramid has in place of the backbone's last row
    pyramid: int = 256                 # channels of each map, where there are levels
    levels: tuple[Level, ...] = ()     # of a feature pyramid, the finest first; (): `features`

    @property
    def maps(self) -> tuple[str, ...]:
        """The blobs that proposals and RoIs are taken from."""
        return tuple(level.name for level in self.levels) or (self.features,)

    @property
    def strides(self) -> tuple[int, ...]:
        """Of the maps."""
        return tuple(level.stride for level in self.levels) or (self.feat_stride,)


def blocks(stage: int, names: Sequence[str], stride: int = 2, learn: bool = True,
           late: bool = False) -> tuple[Bottleneck, ...]:
    """The blocks of one ResNet stage: the first one strides and projects."""
    return tuple(Bottleneck(f"{stage}{name}", 16 * 2**stage, 1 if i else stride, not i, learn, late)
                 for i, name in enumerate(names))


def numbered(count: int) -> list[str]:
    """a, b1, b2, ...: the names of a stage in the published ResNet-101"""
    return ["a", *(f"b{i}" for i in range(1, count))]


def resnet(third: Sequence[str], fourth: Sequence[str], bias: bool = False,
           late: bool = False) -> Sizes:
    """conv1 and conv2 as ImageNet left them, conv3 and conv4 learn, conv5 is the head of a RoI.

    late: strides and pooling as torchvision has them ("v1.5"), else as in the nets for Caffe.
    """
    return Sizes(
        backbone=(Stem(64, bias, pad=int(late)), *blocks(2, "abc", 1, learn=False, late=late),
                  *blocks(3, third, late=late), *blocks(4, fourth, late=late)),
        head=blocks(5, "abc", late=late), features=f"res4{fourth[-1]}", block=4,
        feat_stride=16, rpn=512, mask_hidden=256, fc6=0, fc7=0, classes=21,
    )


# (blocks, kernel, stride, expand, channels) of each stage of EfficientNet-Lite0
LITE0 = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112),
         (4, 5, 2, 6, 192), (1, 3, 1, 6, 320))


def lite(stages: Sequence[tuple[int, int, int, int, int]], frozen: int,
         rate: float) -> tuple[Row, ...]:
    """EfficientNet-Lite's rows: the stem and so many stages stay as they are."""
    rows: list[Row] = [LiteStem(32, 0 if frozen else rate)]
    inputs, number = 32, 0
    for i, (count, kernel, stride, expand, channels) in enumerate(stages):
        for first in [True, *[False] * (count - 1)]:
            step = stride if first else 1
            rows.append(Inverted(str(number), channels, inputs, expand, kernel, step, step > 1,
                                 0 if i < frozen else rate))
            inputs, number = channels, number + 1
    return tuple(rows)


NETS: dict[str, Sizes] = {
    "VGG16": Sizes(
        backbone=(
            Conv("1_1", 64, learn=False), Conv("1_2", 64, learn=False), Pool("1"),
            Conv("2_1", 128, learn=False), Conv("2_2", 128, learn=False), Pool("2"),
            Conv("3_1", 256), Conv("3_2", 256), Conv("3_3", 256), Pool("3"),
            Conv("4_1", 512), Conv("4_2", 512), Conv("4_3", 512), Pool("4"),
            Conv("5_1", 512), Conv("5_2", 512), Conv("5_3", 512),
        ),
        feat_stride=16, rpn=512, mask_hidden=256, fc6=4096, fc7=4096, classes=21,
    ),
    # fc6 of the ImageNet net takes 6x6 cells: a RoI is warped to 24, pooled to 12 and to 6.
    "ZF": Sizes(
        backbone=(
            Conv("1", 96, kernel=7, stride=2), LocalNorm("1"), Pool("1", kernel=3, pad=1),
            Conv("2", 256, kernel=5, stride=2), LocalNorm("2"), Pool("2", kernel=3, pad=1),
            Conv("3", 384), Conv("4", 384), Conv("5", 256),
        ),
        features="conv5", warp=24,
        feat_stride=16, rpn=256, mask_hidden=256, fc6=4096, fc7=4096, classes=21,
    ),
    "ResNet50": resnet("abcd", "abcdef", bias=True),
    "ResNet101": resnet(numbered(4), numbered(23)),
    "ResNet50v1.5": resnet("abcd", "abcdef", late=True),
    "ResNet101v1.5": resnet(numbered(4), numbered(23), late=True),
    # The stem and stages to stride 4 as ImageNet left them.
    "Lite0": Sizes(
        backbone=(*lite(LITE0, frozen=2, rate=0.2)[:12], Conv("5_3", 128)),
        coarser=lite(LITE0, frozen=2, rate=0.2)[12:], pyramid=64,
        feat_stride=16, rpn=128, mask_hidden=256, fc6=512, fc7=256, classes=21,
        fillers=Fillers(
            conv=filler("msra"), rpn=filler("msra"),
            mask_hidden=filler("msra"), hidden=filler("msra"),
        ),
    ),
    # 2.3 million weights; learns from random initialisation on two CPU cores. A RoI of the usual
    # size covers some ten cells, so it is warped to 20 and pooled to 10.
    "Mini": Sizes(
        backbone=(
            Rescale("data_scaled", 1 / 64), Conv("1_1", 32, kernel=5, stride=2, norm=True),
            Conv("2_1", 48, norm=True), Pool("2"),
            Conv("3_1", 80, norm=True), Conv("3_2", 80, norm=True), Pool("3"),
            Conv("4_1", 112, norm=True), Conv("4_2", 112, norm=True),
            Conv("5_3", 64, norm=True),
        ),
        feat_stride=8, rpn=96, mask_hidden=128, fc6=224, fc7=128, classes=6,
        fillers=Fillers(
            conv=filler("msra"), rpn=filler("msra"),
            mask_hidden=filler("msra"), hidden=filler("msra"),
        ),
        warp=20, pyramid=64,
    ),
}
