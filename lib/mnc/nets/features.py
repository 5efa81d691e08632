"""Backbones as prototxt: from the image to the features that all stages share."""

from __future__ import annotations

from functools import singledispatch

from mnc.nets.backbones import Bottleneck, Conv, LocalNorm, Pool, Rescale, Row, Sizes, Stem
from mnc.nets.layers import FROZEN, POOL_2X2, NetWriter, convolution, filled, multipliers, relu
from mnc.nets.prototxt import Enum


def backbone(net: NetWriter, sizes: Sizes) -> None:
    """The rows of the table one after the other; the last one's top is `sizes.features`."""
    bottom = "data"
    for row in sizes.backbone:
        bottom = write(row, net, sizes, bottom)


@singledispatch
def write(row: Row, net: NetWriter, sizes: Sizes, bottom: str) -> str:
    """Append the layers of one row; returns their top."""
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


def bottleneck(net: NetWriter, sizes: Sizes, row: Bottleneck, bottom: str, ending: str = "",
               shared: str | None = None) -> str:
    """A residual block with `ending` after every name.

    shared: what follows the layer's own name in the names of the parameters, which all blocks with
    the same have in common; None: no names.
    """
    def branch(part: str, source: str, channels: int, kernel: int = 1, stride: int = 1) -> str:
        name, top = f"{row.name}_branch{part}", f"res{row.name}_branch{part}{ending}"
        rate = multipliers(1, 1) if row.learn else FROZEN
        net.layer(top, "Convolution", source, top,
                  param=[{**_named(f"res{name}", shared, "w"), **rate}],
                  convolution_param={"num_output": channels, "bias_term": False,
                                     "pad": kernel // 2, "kernel_size": kernel, "stride": stride,
                                     **filled(net, sizes.fillers.conv)})
        frozen_norm(net, name, top, top, ending, shared)
        return top

    identity = branch("1", bottom, 4 * row.inner, stride=row.stride) if row.projects else bottom
    inner = branch("2a", bottom, row.inner, stride=row.stride)
    relu(net, f"res{row.name}_branch2a{ending}_relu", inner)
    inner = branch("2b", inner, row.inner, kernel=3)
    relu(net, f"res{row.name}_branch2b{ending}_relu", inner)
    inner = branch("2c", inner, 4 * row.inner)
    top = f"res{row.name}{ending}"
    net.layer(top, "Eltwise", f"{identity} {inner}", top)
    relu(net, f"{top}_relu", top)
    return top


def normalization(net: NetWriter, name: str, blob: str) -> None:
    """Each channel of an image to mean 0 and deviation 1, in test as well, then scale and shift."""
    net.layer(f"bn{name}", "BatchNorm", blob, blob, batch_norm_param={"use_global_stats": False})
    net.layer(f"scale{name}", "Scale", blob, blob, scale_param={"bias_term": True})


def frozen_norm(net: NetWriter, name: str, bottom: str, top: str, ending: str = "",
                shared: str | None = None) -> None:
    """BatchNorm by ImageNet's statistics and its Scale, as constants: one image is no batch."""
    net.layer(f"bn{name}{ending}", "BatchNorm", bottom, top, batch_norm_param={
        "use_global_stats": True},
        param=[{**_named(f"bn{name}", shared, blob), **FROZEN}
               for blob in ("mean", "variance", "count")])
    net.layer(f"scale{name}{ending}", "Scale", top, top, scale_param={"bias_term": True},
              param=[{**_named(f"scale{name}", shared, blob), **FROZEN} for blob in "wb"])


def _named(layer: str, shared: str | None, blob: str) -> dict[str, str]:
    return {} if shared is None else {"name": f"{layer}{shared}_{blob}"}
