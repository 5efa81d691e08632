"""A convolution with what belongs to it, a residual block, an Inception tower."""

from __future__ import annotations

from typing import Any

from caffe.net_spec import NetSpec, Top
from caffe.net_spec import layers as L

ONE, ZERO = {"type": "constant", "value": 1.0}, {"type": "constant", "value": 0.0}


def UnpackVariable(var: Any, num: int) -> list[Any]:
    """`num` values: those of a list of that length, or one repeated; ValueError for other lists."""
    values = list(var) if isinstance(var, (list, tuple)) else [var]
    if len(values) not in (1, num):
        raise ValueError(f"{var}: give one value or {num}")
    return values * num if len(values) == 1 else values


def ConvBNLayer(net: NetSpec, from_layer: str, out_layer: str, use_bn: bool, use_relu: bool,
                num_output: int, kernel_size: Any, pad: Any, stride: Any, dilation: int = 1,
                use_scale: bool = True, lr_mult: float = 1, conv_prefix: str = "",
                conv_postfix: str = "", bn_prefix: str = "", bn_postfix: str = "_bn",
                scale_prefix: str = "", scale_postfix: str = "_scale", bias_prefix: str = "",
                bias_postfix: str = "_bias", **bn_params: Any) -> None:
    """Convolution; with use_bn BatchNorm and Scale (or Bias) in place; with use_relu ReLU

    kernel_size, pad and stride: a number or [h, w]. bn_params: eps (0.001),
    moving_average_fraction (0.999); use_global_stats, which freezes statistics, scale and bias.
    """
    conv = f"{conv_prefix}{out_layer}{conv_postfix}"
    learning = {"lr_mult": lr_mult, "decay_mult": 1}
    if use_bn:
        options = {"param": [learning], "weight_filler": {"type": "gaussian", "std": 0.01},
                   "bias_term": False}
    else:
        options = {"param": [learning, {"lr_mult": 2 * lr_mult, "decay_mult": 0}],
                   "weight_filler": {"type": "xavier"},
                   "bias_filler": {"type": "constant", "value": 0}}
    if dilation > 1:
        options["dilation"] = dilation
    net[conv] = L.Convolution(net[from_layer], num_output=num_output,
                              **_window(kernel_size, pad, stride), **options)
    if use_bn:
        frozen = bn_params.get("use_global_stats", False)
        after = f"{scale_prefix}{out_layer}{scale_postfix}" if use_scale \
            else f"{bias_prefix}{out_layer}{bias_postfix}"
        _normalise(net, conv, f"{bn_prefix}{out_layer}{bn_postfix}", bn_params)
        _shift(net, f"{bn_prefix}{out_layer}{bn_postfix}", after, use_scale,
               0 if frozen else lr_mult)
    if use_relu:
        net[f"{conv}_relu"] = L.ReLU(net[conv], in_place=True)


def _window(kernel: Any, pad: Any, stride: Any) -> dict[str, int]:
    pairs = {"kernel": UnpackVariable(kernel, 2), "pad": UnpackVariable(pad, 2),
             "stride": UnpackVariable(stride, 2)}
    if pairs["kernel"][0] == pairs["kernel"][1]:
        return {"kernel_size": pairs["kernel"][0], "pad": pairs["pad"][0],
                "stride": pairs["stride"][0]}
    return {f"{name}_{side}": value for name, pair in pairs.items()
            for side, value in zip("hw", pair)}


def _normalise(net: NetSpec, conv: str, name: str, bn_params: dict[str, Any]) -> None:
    options: dict[str, Any] = {"eps": bn_params.get("eps", 0.001)}
    if bn_params.get("use_global_stats", False):
        options["use_global_stats"] = True
    else:
        options["moving_average_fraction"] = bn_params.get("moving_average_fraction", 0.999)
    net[name] = L.BatchNorm(net[conv], in_place=True,
                            param=[{"lr_mult": 0, "decay_mult": 0}] * 3, **options)


def _shift(net: NetSpec, bn: str, name: str, use_scale: bool, lr_mult: float) -> None:
    learning = {"lr_mult": lr_mult, "decay_mult": 0}
    if use_scale:
        net[name] = L.Scale(net[bn], in_place=True, bias_term=True, param=[learning] * 2,
                            filler=ONE, bias_filler=ZERO)
    else:
        net[name] = L.Bias(net[bn], in_place=True, param=[learning], filler=ZERO)


def ResBody(net: NetSpec, from_layer: str, block_name: str, out2a: int, out2b: int, out2c: int,
            stride: int, use_branch1: bool, dilation: int = 1, **bn_param: Any) -> None:
    """A bottleneck block of ResNet: res<block> = (input, or branch1 of it) + branch2c; then ReLU

    The stride is that of branch1 and branch2a.
    """
    names: dict[str, Any] = {"conv_prefix": f"res{block_name}_", "conv_postfix": "",
             "bn_prefix": f"bn{block_name}_", "bn_postfix": "",
             "scale_prefix": f"scale{block_name}_", "scale_postfix": ""}

    def conv(source: str, branch: str, output: int, kernel: int, **more: Any) -> str:
        settings = {"use_relu": True, "stride": 1, "pad": 0, **more}
        ConvBNLayer(net, source, branch, use_bn=True, num_output=output, kernel_size=kernel,
                    **settings, **names, **bn_param)
        return f"res{block_name}_{branch}"

    shortcut = conv(from_layer, "branch1", out2c, 1, stride=stride, use_relu=False) \
        if use_branch1 else from_layer
    last = conv(from_layer, "branch2a", out2a, 1, stride=stride)
    last = conv(last, "branch2b", out2b, 3, pad=dilation, dilation=dilation)
    last = conv(last, "branch2c", out2c, 1, use_relu=False)
    net[f"res{block_name}"] = L.Eltwise(net[shortcut], net[last])
    net[f"res{block_name}_relu"] = L.ReLU(net[f"res{block_name}"], in_place=True)


def InceptionTower(net: NetSpec, from_layer: str, tower_name: str,
                   layer_params: list[dict[str, Any]], **bn_param: Any) -> Top:
    """A chain of convolutions with BatchNorm and Bias, and of pooling; returns its last top

    Each entry has a `name`; one with "pool" in its full name is a Pooling of the other options.
    """
    for options in layer_params:
        options = dict(options)
        name = f"{tower_name}/{options.pop('name')}"
        if "pool" in name:
            net[name] = L.Pooling(net[from_layer], **options)
        else:
            ConvBNLayer(net, from_layer, name, use_bn=True, use_relu=True, use_scale=False,
                        **{**options, **bn_param})
        from_layer = name
    return net[from_layer]
