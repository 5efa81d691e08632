"""Single layers as prototxt, in the conventions of the public nets."""

from __future__ import annotations

from dataclasses import dataclass

from mnc.nets.backbones import filler
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
                **fields: object) -> None:
    net.layer(name, "Convolution", bottom, top, param=own_params(net, learn), **fields)


def inner_product(net: NetWriter, name: str, bottom: str, s: str, outputs: int,
                  filled: dict[str, object]) -> None:
    """A layer of a head; with names, both passes share its weights NAME_w and NAME_b."""
    net.layer(f"{name}{s}", "InnerProduct", bottom, f"{name}{s}", param=head_params(net, name),
              inner_product_param={"num_output": outputs, **filled})


def output(net: NetWriter, name: str, bottom: str, s: str, outputs: int, std: float) -> None:
    """A layer of class scores or box deltas."""
    fills = net.train or net.convention.test_fillers
    weights = {"weight_filler": filler("gaussian", std=std), "bias_filler": ZERO}
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


def multipliers(lr: int, decay: int) -> dict[str, object]:
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


def python(module: str, layer: str, param_str: str | None = None) -> dict[str, object]:
    return {"module": f"pylayer.{module}", "layer": layer, "param_str": param_str}


def flags(zeros_and_ones: str) -> list[bool]:
    return [c == "1" for c in zeros_and_ones]
