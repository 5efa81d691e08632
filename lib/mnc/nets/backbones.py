"""The sizes of each net, as tables. Everything one may want to turn is here."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Conv:
    """A 3x3 (by default) convolution that keeps the size at stride 1, followed by a ReLU."""

    name: str                 # "3_1" gives conv3_1 and relu3_1
    channels: int
    kernel: int = 3
    stride: int = 1
    learn: bool = True  # False: lr_mult 0, for the layers taken over from ImageNet as they are
    norm: bool = False        # BatchNorm (of this image alone) and Scale before the ReLU


@dataclass(frozen=True)
class Pool:
    name: str                 # "1" gives pool1; 2x2, stride 2


@dataclass(frozen=True)
class Rescale:
    """Pixels times a constant: filters that start from random values need inputs of about unit size."""

    name: str                 # top and layer
    factor: float


def filler(kind: str, **options: float) -> dict[str, object]:
    return {"type": kind, **options}


@dataclass(frozen=True)
class Fillers:
    """Weight fillers for training; None leaves a layer to the initial weights."""

    conv: dict | None = None          # backbone
    rpn: dict = field(default_factory=lambda: filler("gaussian", std=0.01))       # rpn_conv_3x3
    mask_hidden: dict = field(default_factory=lambda: filler("gaussian", std=0.001))  # fc6_maskest
    hidden: dict | None = None        # fc6, fc7, fc6_mask, fc7_mask


@dataclass(frozen=True)
class Sizes:
    """One net: backbone, widths of the heads, fillers."""

    backbone: tuple[Conv | Pool | Rescale, ...]  # ends with conv5_3
    feat_stride: int                   # image pixels per cell of conv5_3
    rpn: int                           # channels of rpn_conv_3x3
    mask_hidden: int                   # units of fc6_maskest
    fc6: int                           # units of fc6 and fc6_mask
    fc7: int                           # units of fc7 and fc7_mask
    classes: int                       # background included
    fillers: Fillers = Fillers()
    input_scale: float | None = None   # factor on the image before the first convolution
    warp: int = 28                     # side of the warped RoI, before 2x2 max pooling
    mask_size: int = 21                # side of the mask that the net predicts (cfg.MASK_SIZE)


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
    # 2.3 million weights; learns from random initialisation on two CPU cores. A RoI of the usual size
    # covers some ten cells, so it is warped to 20 and pooled to 10.
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
        warp=20,
    ),
}

# (net, task) -> fields of solver.prototxt that differ from SOLVER_DEFAULTS
SOLVER_DEFAULTS: dict[str, object] = {
    "base_lr": 0.001, "lr_policy": "step", "gamma": 0.1, "stepsize": 20000, "display": 100,
    "average_loss": 100, "momentum": 0.9, "weight_decay": 0.0005,
}
SOLVERS: dict[tuple[str, str], dict[str, object]] = {
    ("VGG16", "mnc_5stage"): {"iter_size": 8},
    # From random initialisation Adam gets in 500 iterations where SGD with 0.01 gets in 900.
    ("Mini", "mnc_5stage"): {"type": "Adam", "base_lr": 0.0007, "momentum2": 0.999,
                             "stepsize": 13000, "display": 20},
}
