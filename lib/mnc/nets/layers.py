"""Single layers and residual blocks as prototxt, in the conventions of the public nets."""

from __future__ import annotations

from dataclasses import dataclass

from mnc.nets.backbones import Bottleneck, Inverted, Sizes, filler
from mnc.nets.prototxt import Enum, NetText

VALID_LABELS = {"ignore_label": -1, "normalize": True}
POOL_2X2 = {"pool": Enum("MAX"), "kernel_size": 2, "stride": 2}
POOL_ALL = {"pool": Enum("AVE"), "global_pooling": True}
ZERO = filler("constant", value=0.0)
FROZEN = {"lr_mult": 0, "decay_mult": 0}


@dataclass(frozen=True)
class Convention:
    """What the public nets spell in different ways; the arithmetic is the same."""

    named: bool = True            # weights of the heads have names, by which two passes share them
    test_params: bool = True      # the heads of the test net say their learning rates
    test_fillers: bool = False    # the outputs of the test net say their fillers
    slash: str = "_"              # rpn_conv_3x3 or rpn_conv/3x3


class NetWriter(NetText):
    """A net as it is being written, in one convention."""

    def __init__(self, name: str, phase: str, convention: Convention = Convention()):
        super().__init__(name, phase)
        self.convention = convention


def convolution(net: NetWriter, name: str, bottom: str, top: str, learn: bool = True,
                shared: str | None = None, **fields: object) -> None:
    """shared: its weights are SHARED_w and SHARED_b, which other layers have, too."""
    param = own_params(net, learn)
    if shared:
        param = [{"name": f"{shared}_{blob}", **each} for blob, each in zip("wb", param)]
    net.layer(name, "Convolution", bottom, top, param=param, **fields)


def inner_product(net: NetWriter, name: str, bottom: str, s: str, outputs: int,
                  filled: dict[str, object]) -> None:
    """A layer of a head; with names, both passes share its weights NAME_w and NAME_b."""
    net.layer(f"{name}{s}", "InnerProduct", bottom, f"{name}{s}", param=head_params(net, name),
              inner_product_param={"num_output": outputs, **filled})


def output(net: NetWriter, name: str, bottom: str, s: str, outputs: int, std: float) -> None:
    """A layer of class scores or box deltas."""
    fills = net.train or net.convention.test_fillers
    weights: dict[str, object] = {"weight_filler": filler("gaussian", std=std), "bias_filler": ZERO}
    inner_product(net, name, bottom, s, outputs, weights if fills else {})


def own_params(net: NetWriter, learn: bool = True) -> list[dict]:
    """Of a layer that shares its weights with no other: weight and bias."""
    if not learn:
        return [FROZEN, FROZEN]
    return [multipliers(1, 1), multipliers(2, 1 if net.train else 0)]


def head_params(net: NetWriter, name: str) -> list[dict] | None:
    """Of a layer that is there once a pass: weight and bias."""
    if not (net.train or net.convention.test_params):
        return None
    if not net.convention.named:
        return own_params(net)
    return [{"name": f"{name}_w", **multipliers(1, 1)},
            {"name": f"{name}_b", **multipliers(2 if net.train else 1, 1)}]


def multipliers(lr: float, decay: int) -> dict[str, object]:
    return {"lr_mult": lr, "decay_mult": decay}


def filled(net: NetWriter, weights: dict | None, bias: bool = False) -> dict[str, object]:
    """Fillers matter for a net that starts without weights: the train net only."""
    if not net.train or weights is None:
        return {}
    return {"weight_filler": weights, **({"bias_filler": ZERO} if bias else {})}


def relu(net: NetWriter, name: str, blob: str) -> None:
    net.layer(name, "ReLU", blob, blob)


def pool(net: NetWriter, name: str, bottom: str, top: str | None = None) -> None:
    net.layer(name, "Pooling", bottom, top or name, pooling_param={**POOL_2X2, "pad": 0})


def softmax_loss(net: NetWriter, name: str, scores: str, labels: str, top: str,
                 loss_param: dict | None = VALID_LABELS) -> None:
    net.layer(name, "SoftmaxWithLoss", f"{scores} {labels}", top, propagate_down=flags("10"),
              loss_weight=1, loss_param=loss_param)


def box_loss(net: NetWriter, s: str, top: str) -> None:
    net.layer(f"loss_bbox{s}", "SmoothL1Loss",
              f"bbox_pred{s} bbox_targets{s} bbox_inside_weights{s} bbox_outside_weights{s}",
              top, loss_weight=1)


def probability(net: NetWriter, name: str, s: str,
                loss_param: dict | None = VALID_LABELS) -> None:
    net.layer(f"{name}_prob{s}", "Softmax", f"{name}_score{s}", f"{name}_prob{s}",
              loss_param=loss_param)


def reshape(net: NetWriter, top: str, bottom: str, *dims: int) -> None:
    net.layer(top, "Reshape", bottom, top, reshape_param={"shape": {"dim": list(dims)}})


def mode(sizes: Sizes) -> dict[str, object]:
    return {"mode": Enum("EXACT")} if sizes.exact else {}


def roi_warping(net: NetWriter, sizes: Sizes, names: str, s: str, side: int, *,
                propagates: bool) -> None:
    """The blob rois + s, each RoI warped to side x side from the map that fits it.

    names: of layer and top, separated by a blank, or one for both. propagates: gradients go to the
    RoIs as well, where the net says so.
    """
    name, *top = names.split()
    net.layer(name, "ROIWarping", [*sizes.maps, f"rois{s}"], top or name,
              propagate_down=flags("1" * (len(sizes.maps) + 1)) if propagates else None,
              roi_warping_param={"pooled_h": side, "pooled_w": side,
                                 "spatial_scale": 1 / sizes.feat_stride, **mode(sizes)})


def python(module: str, layer: str, param_str: str | None = None) -> dict[str, object]:
    return {"module": f"pylayer.{module}", "layer": layer, "param_str": param_str}


def flags(zeros_and_ones: str) -> list[bool]:
    return [c == "1" for c in zeros_and_ones]


# --- residual blocks ------------------------------------------------------------------------------

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
                                     "pad": kernel // 2 * (row.dilation if kernel > 1 else 1),
                                     "kernel_size": kernel, "stride": stride,
                                     "dilation": _dilation(row, kernel),
                                     **filled(net, sizes.fillers.conv)})
        frozen_norm(net, name, top, top, ending, shared)
        return top

    identity = branch("1", bottom, 4 * row.inner, stride=row.stride) if row.projects else bottom
    first, second = (1, row.stride) if row.late else (row.stride, 1)
    inner = branch("2a", bottom, row.inner, stride=first)
    relu(net, f"res{row.name}_branch2a{ending}_relu", inner)
    inner = branch("2b", inner, row.inner, kernel=3, stride=second)
    relu(net, f"res{row.name}_branch2b{ending}_relu", inner)
    inner = branch("2c", inner, 4 * row.inner)
    top = f"{row.top}{ending}"
    net.layer(top, "Eltwise", f"{identity} {inner}", top)
    relu(net, f"{top}_relu", top)
    return top


def frozen_norm(net: NetWriter, name: str, bottom: str, top: str, ending: str = "",
                shared: str | None = None) -> None:
    """BatchNorm by ImageNet's statistics and its Scale, as constants: one image is no batch."""
    net.layer(f"bn{name}{ending}", "BatchNorm", bottom, top, batch_norm_param={
        "use_global_stats": True},
        param=[{**_named(f"bn{name}", shared, blob), **FROZEN}
               for blob in ("mean", "variance", "count")])
    net.layer(f"scale{name}{ending}", "Scale", top, top, scale_param={"bias_term": True},
              param=[{**_named(f"scale{name}", shared, blob), **FROZEN} for blob in "wb"])


def _dilation(row: Bottleneck, kernel: int) -> int | None:
    return row.dilation if kernel > 1 and row.dilation > 1 else None


# --- EfficientNet-Lite's blocks ------------------------------------------------------------------

def inverted(net: NetWriter, sizes: Sizes, row: Inverted, bottom: str) -> str:
    """A block of a depthwise convolution between two of 1x1; returns its top."""
    name, inner = f"block{row.name}", row.inputs * row.expand
    top = bottom
    if row.expand != 1:
        top = lite_convolution(net, sizes, top, f"{name}_expand", row.rate, num_output=inner,
                               kernel_size=1)
        relu6(net, top)
    top = lite_convolution(net, sizes, top, f"{name}_depthwise", row.rate, num_output=inner,
                           **window(row.kernel, row.stride, row.dilation, wide=row.wide),
                           group=inner)
    relu6(net, top)
    top = lite_convolution(net, sizes, top, f"{name}_project", row.rate, num_output=row.channels,
                           kernel_size=1)
    if row.adds:
        net.layer(row.top, "Eltwise", f"{bottom} {top}", row.top)
    return row.top


def lite_convolution(net: NetWriter, sizes: Sizes, bottom: str, name: str, rate: float,
                     **options: object) -> str:
    """A convolution with bias that learns at this rate; returns its top."""
    rates = [multipliers(rate, 1), multipliers(2 * rate, 0)] if rate else [FROZEN, FROZEN]
    net.layer(name, "Convolution", bottom, name, param=rates,
              convolution_param={**options, **filled(net, sizes.fillers.conv)})
    return name


def window(kernel: int, stride: int, dilation: int = 1, *, wide: bool) -> dict[str, object]:
    """Of odd kernels, padded so that stride 1 keeps the size; a wide one has one more in front.

    TensorFlow pads maps of even sides behind them alone, at stride 2, as no padding of Caffe does:
    a window that begins one earlier, with zeros there, sees the same. Where such a row steps no
    more (--stride), a map is at most a cell larger.
    """
    pad = -(-kernel * dilation // 2) if wide and stride == 1 else kernel // 2 * dilation
    return {"pad": pad, "kernel_size": kernel + wide, "stride": stride,
            "dilation": dilation if dilation > 1 else None}


def relu6(net: NetWriter, blob: str) -> None:
    net.layer(f"{blob}_relu", "ReLU6", blob, blob)


# --------------------------------------------------------------------------------------------------

def _named(layer: str, shared: str | None, blob: str) -> dict[str, str]:
    return {} if shared is None else {"name": f"{layer}{shared}_{blob}"}
