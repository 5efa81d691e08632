"""Backbones as prototxt: from the image to the features that all stages share."""

from __future__ import annotations

from functools import singledispatch
from itertools import pairwise

from mnc.nets.backbones import (
    Bottleneck,
    Conv,
    Inverted,
    Level,
    LiteStem,
    LocalNorm,
    Pool,
    Rescale,
    Row,
    Sizes,
    Stem,
)
from mnc.nets.layers import (
    FROZEN,
    POOL_2X2,
    NetWriter,
    bottleneck,
    convolution,
    filled,
    flags,
    frozen_norm,
    inverted,
    lite_convolution,
    relu,
    relu6,
    window,
)
from mnc.nets.prototxt import Enum


def backbone(net: NetWriter, sizes: Sizes) -> None:
    """The rows of the table one after the other; the last one's top is `sizes.features`.

    Then the maps of the pyramid, if there is one.
    """
    bottom = "data"
    for row in sizes.backbone:
        bottom = write(row, net, sizes, bottom)
    if sizes.levels:
        pyramid(net, sizes)


@singledispatch
def write(row: Row, net: NetWriter, sizes: Sizes, bottom: str) -> str:
    """Append the layers of one row; returns their top.

    Raises TypeError for a row of no known kind.
    """
    raise TypeError(f"no layers are known for a row {row!r}")


@write.register
def _(row: Conv, net: NetWriter, sizes: Sizes, bottom: str) -> str:
    top = row.top
    convolution(net, top, bottom, top, learn=row.learn, convolution_param={
        "num_output": row.channels, "pad": row.kernel // 2 * row.dilation,
        "kernel_size": row.kernel, "stride": row.stride if row.stride != 1 else None,
        "dilation": row.dilation if row.dilation != 1 else None,
        **filled(net, sizes.fillers.conv)})
    if row.norm:
        normalization(net, row.name, top)
    relu(net, f"relu{row.name}", top)
    return top


@write.register
def _(row: Rescale, net: NetWriter, sizes: Sizes, bottom: str) -> str:
    net.layer(row.name, "Power", bottom, row.top, power_param={"scale": row.factor})
    return row.top


@write.register
def _(row: Pool, net: NetWriter, sizes: Sizes, bottom: str) -> str:
    window = {**POOL_2X2, "kernel_size": row.kernel, "stride": row.stride, "pad": row.pad or None}
    if row.floors:
        window["round_mode"] = Enum("FLOOR")
    net.layer(row.top, "Pooling", bottom, row.top, pooling_param=window)
    return row.top


@write.register
def _(row: LocalNorm, net: NetWriter, sizes: Sizes, bottom: str) -> str:
    net.layer(row.top, "LRN", bottom, row.top, lrn_param={
        "local_size": 3, "alpha": 0.00005, "beta": 0.75, "norm_region": Enum("WITHIN_CHANNEL")})
    return row.top


@write.register
def _(row: Stem, net: NetWriter, sizes: Sizes, bottom: str) -> str:
    net.layer("conv1", "Convolution", bottom, "conv1", param=[FROZEN] * (1 + row.bias),
              convolution_param={
                  "num_output": row.channels, "bias_term": None if row.bias else False,
                  "pad": 3, "kernel_size": 7, "stride": 2, **filled(net, sizes.fillers.conv)})
    frozen_norm(net, "_conv1", "conv1", "conv1")
    relu(net, "conv1_relu", "conv1")
    return write(Pool("1", kernel=3, pad=row.pad, floors=row.pad > 0), net, sizes, "conv1")


@write.register
def _(row: Bottleneck, net: NetWriter, sizes: Sizes, bottom: str) -> str:
    return bottleneck(net, sizes, row, bottom)


@write.register
def _(row: LiteStem, net: NetWriter, sizes: Sizes, bottom: str) -> str:
    lite_convolution(net, sizes, bottom, row.top, row.rate, num_output=row.channels,
                     **window(3, row.stride, wide=True))
    relu6(net, row.top)
    return row.top


@write.register
def _(row: Inverted, net: NetWriter, sizes: Sizes, bottom: str) -> str:
    return inverted(net, sizes, row, bottom)


def normalization(net: NetWriter, name: str, blob: str) -> None:
    """Each channel of an image to mean 0 and deviation 1, in test as well, then scale and shift."""
    net.layer(f"bn{name}", "BatchNorm", blob, blob, batch_norm_param={"use_global_stats": False})
    net.layer(f"scale{name}", "Scale", blob, blob, scale_param={"bias_term": True})


# --- a feature pyramid ---------------------------------------------------------------------------

def pyramid(net: NetWriter, sizes: Sizes) -> None:
    """A map a level: 1x1 of its blob, plus the next coarser one enlarged, then 3x3 (FPN).

    A level without a blob is the 2x2 maximum of the one before. The 3x3 normalise and rectify, so
    that the heads, which all maps share, begin with values of one size. Without, those of Lite0
    deviate by 5 on the coarsest map and 24 on the finest, and proposals begin at 5 times the loss.
    """
    net.comment("a feature pyramid, from the coarsest map to the finest")
    above = ""
    for level in reversed([level for level in sizes.levels if level.source]):
        above = merged(net, sizes, level, above)
        smoothed(net, sizes, level.name, above)
    for before, level in pairwise(sizes.levels):
        if not level.source:
            write(Pool(f"_{level.name}"), net, sizes, before.name)
            smoothed(net, sizes, level.name, f"pool_{level.name}")


def merged(net: NetWriter, sizes: Sizes, level: Level, above: str) -> str:
    """The top: features of this level, and those from above where there are any."""
    lateral = f"{level.name}_lateral"
    convolution(net, lateral, level.source, lateral, convolution_param={
        "num_output": sizes.pyramid, "kernel_size": 1, **filled(net, sizes.fillers.pyramid)})
    if not above:
        return lateral
    upsampled, top = f"{level.name}_topdown", f"{level.name}_merged"
    net.layer(upsampled, "Upsample", f"{above} {lateral}", upsampled,
              propagate_down=flags("10") if net.train else None,
              upsample_param={"mode": Enum("NEAREST")})
    net.layer(top, "Eltwise", f"{lateral} {upsampled}", top)
    return top


def smoothed(net: NetWriter, sizes: Sizes, top: str, bottom: str) -> None:
    convolution(net, top, bottom, top, convolution_param={
        "num_output": sizes.pyramid, "pad": 1, "kernel_size": 3,
        **filled(net, sizes.fillers.pyramid)})
    normalization(net, f"_{top}", top)
    relu(net, f"relu_{top}", top)
