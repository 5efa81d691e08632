"""Backbones as prototxt: from the image to the features that all stages share."""

from __future__ import annotations

from functools import singledispatch

from mnc.nets.backbones import Bottleneck, Conv, LocalNorm, Pool, Rescale, Row, Sizes, Stem
from mnc.nets.layers import (
    FROZEN,
    POOL_2X2,
    NetWriter,
    bottleneck,
    convolution,
    filled,
    frozen_norm,
    relu,
)
from mnc.nets.prototxt import Enum


def backbone(net: NetWriter, sizes: Sizes) -> None:
    """The rows of the table one after the other; the last one's top is `sizes.features`."""
    bottom = "data"
    for row in sizes.backbone:
        bottom = write(row, net, sizes, bottom)


@singledispatch
def write(row: Row, net: NetWriter, sizes: Sizes, bottom: str) -> str:
    """Append the layers of one row; returns their top.

    Raises TypeError for a row of no known kind.
    """
    raise TypeError(f"no layers are known for a row {row!r}")


@write.register
def _(row: Conv, net: NetWriter, sizes: Sizes, bottom: str) -> str:
    top = f"conv{row.name}"
    convolution(net, top, bottom, top, learn=row.learn, convolution_param={
        "num_output": row.channels, "pad": row.kernel // 2, "kernel_size": row.kernel,
        "stride": row.stride if row.stride != 1 else None, **filled(net, sizes.fillers.conv)})
    if row.norm:
        normalization(net, row.name, top)
    relu(net, f"relu{row.name}", top)
    return top


@write.register
def _(row: Rescale, net: NetWriter, sizes: Sizes, bottom: str) -> str:
    net.layer(row.name, "Power", bottom, row.name, power_param={"scale": row.factor})
    return row.name


@write.register
def _(row: Pool, net: NetWriter, sizes: Sizes, bottom: str) -> str:
    top = f"pool{row.name}"
    window = {**POOL_2X2, "kernel_size": row.kernel, "pad": row.pad or None}
    net.layer(top, "Pooling", bottom, top, pooling_param=window)
    return top


@write.register
def _(row: LocalNorm, net: NetWriter, sizes: Sizes, bottom: str) -> str:
    top = f"norm{row.name}"
    net.layer(top, "LRN", bottom, top, lrn_param={
        "local_size": 3, "alpha": 0.00005, "beta": 0.75, "norm_region": Enum("WITHIN_CHANNEL")})
    return top


@write.register
def _(row: Stem, net: NetWriter, sizes: Sizes, bottom: str) -> str:
    net.layer("conv1", "Convolution", bottom, "conv1", param=[FROZEN] * (1 + row.bias),
              convolution_param={
                  "num_output": row.channels, "bias_term": None if row.bias else False,
                  "pad": 3, "kernel_size": 7, "stride": 2, **filled(net, sizes.fillers.conv)})
    frozen_norm(net, "_conv1", "conv1", "conv1")
    relu(net, "conv1_relu", "conv1")
    return write(Pool("1", kernel=3), net, sizes, "conv1")


@write.register
def _(row: Bottleneck, net: NetWriter, sizes: Sizes, bottom: str) -> str:
    return bottleneck(net, sizes, row, bottom)


def normalization(net: NetWriter, name: str, blob: str) -> None:
    """Each channel of an image to mean 0 and deviation 1, in test as well, then scale and shift."""
    net.layer(f"bn{name}", "BatchNorm", blob, blob, batch_norm_param={"use_global_stats": False})
    net.layer(f"scale{name}", "Scale", blob, blob, scale_param={"bias_term": True})
