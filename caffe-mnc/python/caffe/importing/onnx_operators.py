"""Operators that compute: convolutions, products, normalisation, activations, pooling, sums."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from caffe.importing.onnx_graph import Node
from caffe.importing.onnx_net import Conversion, operator

# --- windows -------------------------------------------------------------------------------------

def _pads(net: Conversion, node: Node, kernel: Sequence[int], strides: Sequence[int],
          dilations: Sequence[int]) -> tuple[list[int], list[int]]:
    """Zeros in front of each axis, and behind it."""
    auto, axes = node.attributes.get("auto_pad", "NOTSET"), len(kernel)
    before = [*node.attributes.get("pads", [0] * 2 * axes)]
    if auto in ("NOTSET", "VALID"):
        before = before if auto == "NOTSET" else [0] * 2 * axes
        return before[:axes], before[axes:]
    front, behind = [], []
    for length, k, s, d in zip(net.shape(node)[2:], kernel, strides, dilations):
        total = max((math.ceil(length / s) - 1) * s + d * (k - 1) + 1 - length, 0)
        small, large = total // 2, total - total // 2
        front.append(small if auto == "SAME_UPPER" else large)
        behind.append(large if auto == "SAME_UPPER" else small)
    return front, behind


@operator("Conv")
def convolution(net: Conversion, node: Node) -> None:
    """Convolution; unequal padding becomes zeros in a kernel that begins or ends further."""
    weight = net.values(node, 1)
    axes = weight.ndim - 2
    strides, dilations = ([*node.attributes.get(what, [1] * axes)]
                          for what in ("strides", "dilations"))
    front, behind = _pads(net, node, weight.shape[2:], strides, dilations)
    source = node.inputs[0]
    if source in net.padded:
        around = net.padded[source]
        front = [a + b for a, b in zip(front, around[2:axes + 2])]
        behind = [a + b for a, b in zip(behind, around[axes + 4:])]
        bottom = net.blobs[source]
    else:
        bottom = net.blob(node)
    pads = [max(a, b) for a, b in zip(front, behind)]
    widths = [(0, 0), (0, 0)]
    for p, a, b, d in zip(pads, front, behind, dilations):
        if (p - a) % d or (p - b) % d:
            raise node.refuse(f"padding {front} before and {behind} behind, with a dilation")
        widths.append(((p - a) // d, (p - b) // d))
    weight = np.pad(weight, widths)
    bias = net.constant(node, 2)
    net.give(node, net.layer(
        node, "Convolution", [bottom], blobs=[weight] if bias is None else [weight, bias],
        convolution_param={"num_output": len(weight), "bias_term": bias is not None, "pad": pads,
                           "kernel_size": weight.shape[2:], "stride": strides,
                           "dilation": dilations, "group": node.attributes.get("group", 1)}))


@operator("ConvTranspose")
def deconvolution(net: Conversion, node: Node) -> None:
    """Deconvolution, padded alike on both sides."""
    weight, group = net.values(node, 1), node.attributes.get("group", 1)
    axes = weight.ndim - 2
    strides, dilations = ([*node.attributes.get(what, [1] * axes)]
                          for what in ("strides", "dilations"))
    pads = [*node.attributes.get("pads", [0] * 2 * axes)]
    auto = node.attributes.get("auto_pad", "NOTSET")
    if any(node.attributes.get("output_padding", ())) or pads[:axes] != pads[axes:] or \
            "output_shape" in node.attributes or auto != "NOTSET":
        raise node.refuse("Deconvolution crops both sides alike, and adds nothing at one")
    bias = net.constant(node, 2)
    net.give(node, net.layer(
        node, "Deconvolution", [net.blob(node)],
        blobs=[weight] if bias is None else [weight, bias],
        convolution_param={"num_output": weight.shape[1] * group, "bias_term": bias is not None,
                           "pad": pads[:axes], "kernel_size": weight.shape[2:], "stride": strides,
                           "dilation": dilations, "group": group}))


@operator("MaxPool", "AveragePool")
def pooling(net: Conversion, node: Node) -> None:
    """Pooling of planes; averages that leave padding out of the count have no counterpart."""
    kernel = [*node.attributes["kernel_shape"]]
    strides = [*node.attributes.get("strides", [1] * len(kernel))]
    dilations = [*node.attributes.get("dilations", [1] * len(kernel))]
    front, behind = _pads(net, node, kernel, strides, dilations)
    average = node.op == "AveragePool"
    counted = bool(node.attributes.get("count_include_pad", 0)) or not any(front + behind)
    if len(kernel) != 2 or any(d > 1 for d in dilations) or front != behind or \
            (average and not counted):
        raise node.refuse(f"kernel {kernel}, padding {front} before and {behind} behind, dilation "
                          f"{dilations}, padding counted: {counted}")
    if len(node.outputs) > 1:
        raise node.refuse("its second output, the places of the maxima, is not taken over")
    ceil = node.attributes.get("ceil_mode", 0)
    net.give(node, net.layer(node, "Pooling", [net.blob(node)], pooling_param={
        "pool": "AVE" if average else "MAX", "kernel_h": kernel[0], "kernel_w": kernel[1],
        "stride_h": strides[0], "stride_w": strides[1], "pad_h": front[0], "pad_w": front[1],
        "round_mode": "CEIL" if ceil else "FLOOR"}))


@operator("GlobalAveragePool", "GlobalMaxPool")
def global_pooling(net: Conversion, node: Node) -> None:
    """Of each plane its mean or maximum: (N, C, 1, 1)"""
    kind = "AVE" if "Average" in node.op else "MAX"
    net.give(node, net.layer(node, "Pooling", [net.blob(node)],
                             pooling_param={"pool": kind, "global_pooling": True}))


@operator("ReduceMean")
def mean(net: Conversion, node: Node) -> None:
    """Of whole planes."""
    rank = len(net.shape(node))
    axes = net.constant(node, 1)
    given = node.attributes.get("axes") if axes is None else axes.ravel().tolist()
    if rank != 4 or sorted(axis % rank for axis in given or range(rank)) != [2, 3]:
        raise node.refuse(f"the mean over axes {given} of {rank}; of planes (2, 3) of 4 it is a "
                          "Pooling")
    kept = node.attributes.get("keepdims", 1)
    top = net.layer(node, "Pooling", [net.blob(node)], part="" if kept else "_plane",
                    pooling_param={"pool": "AVE", "global_pooling": True})
    net.give(node, top if kept else net.layer(node, "Flatten", [top]))


# --- products ------------------------------------------------------------------------------------

@operator("Gemm")
def gemm(net: Conversion, node: Node) -> None:
    """InnerProduct: A times a constant B, plus a constant C."""
    weight = net.values(node, 1)
    if node.attributes.get("transA", 0):
        raise node.refuse("A is transposed")
    weight = (weight if node.attributes.get("transB", 0) else weight.T) \
        * node.attributes.get("alpha", 1.0)
    bias = net.constant(node, 2)
    blobs = [weight]
    if bias is not None:
        bias = np.broadcast_to(bias * node.attributes.get("beta", 1.0), (1, len(weight)))
        blobs.append(bias[0])
    net.give(node, net.layer(node, "InnerProduct", [net.blob(node)], blobs=blobs,
                             inner_product_param={"num_output": len(weight),
                                                  "bias_term": bias is not None}))


@operator("MatMul")
def matrix_product(net: Conversion, node: Node) -> None:
    """InnerProduct over the last axis, by a constant matrix."""
    weight = net.values(node, 1)
    if weight.ndim != 2:
        raise node.refuse(f"its second factor has the shape {weight.shape}, which is no matrix")
    net.give(node, net.layer(node, "InnerProduct", [net.blob(node)], blobs=[weight.T],
                             inner_product_param={"num_output": weight.shape[1], "axis": -1,
                                                  "bias_term": False}))


# --- normalisation -------------------------------------------------------------------------------

@operator("BatchNormalization")
def batch_norm(net: Conversion, node: Node) -> None:
    """Caffe's pair: BatchNorm and Scale."""
    scale, shift, average, variance = (net.values(node, i) for i in range(1, 5))
    top = net.layer(node, "BatchNorm", [net.blob(node)], part="_norm",
                    blobs=[average, variance, np.ones(1)], batch_norm_param={
                        "use_global_stats": True, "eps": node.attributes.get("epsilon", 1e-5)})
    net.give(node, net.layer(node, "Scale", [top], blobs=[scale, shift],
                             scale_param={"bias_term": True}))


@operator("LRN")
def local_norm(net: Conversion, node: Node) -> None:
    """LRN across channels; bias is k."""
    a = node.attributes
    net.give(node, net.layer(node, "LRN", [net.blob(node)], lrn_param={
        "local_size": a["size"], "alpha": a.get("alpha", 1e-4), "beta": a.get("beta", 0.75),
        "k": a.get("bias", 1.0)}))


# --- functions of single values ------------------------------------------------------------------

PLAIN = {"Relu": "ReLU", "Sigmoid": "Sigmoid", "Tanh": "TanH", "Abs": "AbsVal", "Softplus": "BNLL",
         "Exp": "Exp", "Log": "Log"}
POWERS = {"Neg": {"scale": -1}, "Sqrt": {"power": 0.5}, "Reciprocal": {"power": -1}}


@operator(*PLAIN)
def activation(net: Conversion, node: Node) -> None:
    """The layer that is the same function."""
    net.give(node, net.layer(node, PLAIN[node.op], [net.blob(node)]))


@operator(*POWERS)
def power(net: Conversion, node: Node) -> None:
    """(shift + scale x) ^ power"""
    net.give(node, net.layer(node, "Power", [net.blob(node)], power_param=POWERS[node.op]))


@operator("Pow")
def power_of(net: Conversion, node: Node) -> None:
    """A constant exponent, the same for all."""
    exponent = net.values(node, 1)
    if exponent.size != 1:
        raise node.refuse(f"exponents of the shape {exponent.shape}")
    net.give(node, net.layer(node, "Power", [net.blob(node)],
                             power_param={"power": float(exponent.ravel()[0])}))


@operator("LeakyRelu")
def leaky(net: Conversion, node: Node) -> None:
    """ReLU with a slope below 0."""
    net.give(node, net.layer(node, "ReLU", [net.blob(node)], relu_param={
        "negative_slope": node.attributes.get("alpha", 0.01)}))


@operator("PRelu")
def learned_slopes(net: Conversion, node: Node) -> None:
    """PReLU, a slope a channel or one for all."""
    slopes, channels = net.values(node, 1), net.shape(node)[1]
    if slopes.size not in (1, channels):
        raise node.refuse(f"slopes of the shape {slopes.shape} for {channels} channels")
    shared = slopes.size == 1
    net.give(node, net.layer(node, "PReLU", [net.blob(node)],
                             blobs=[slopes.reshape(() if shared else -1)],
                             prelu_param={"channel_shared": shared}))


@operator("Elu")
def elu(net: Conversion, node: Node) -> None:
    """ELU"""
    net.give(node, net.layer(node, "ELU", [net.blob(node)],
                             elu_param={"alpha": node.attributes.get("alpha", 1.0)}))


@operator("Clip")
def clip(net: Conversion, node: Node) -> None:
    """ReLU6 for 0 to 6, else Clip."""
    ends = [net.constant(node, i) for i in (1, 2)]
    low, high = (float(node.attributes.get(what, default)) if end is None else float(end)
                 for what, default, end in zip(("min", "max"), (-3.4e38, 3.4e38), ends))
    if (low, high) == (0, 6):
        net.give(node, net.layer(node, "ReLU6", [net.blob(node)]))
    else:
        net.give(node, net.layer(node, "Clip", [net.blob(node)],
                                 clip_param={"min": low, "max": high}))


@operator("HardSigmoid", "HardSwish")
def hard_sigmoid(net: Conversion, node: Node) -> None:
    """min(max(alpha x + beta, 0), 1), of HardSwish times x"""
    swish = node.op == "HardSwish"
    alpha = 1 / 6 if swish else node.attributes.get("alpha", 0.2)
    bottom = net.blob(node)
    line = net.layer(node, "Power", [bottom], part="_line", power_param={
        "scale": alpha, "shift": node.attributes.get("beta", 0.5)})
    top = net.layer(node, "Clip", [line], part="_gate" if swish else "",
                    clip_param={"min": 0, "max": 1})
    if swish:
        top = net.layer(node, "Eltwise", [bottom, top], eltwise_param={"operation": "PROD"})
    net.give(node, top)


@operator("Softmax")
def softmax(net: Conversion, node: Node) -> None:
    """Over one axis; before opset 13 over all axes from it, which must be one."""
    shape = net.shape(node)
    axis = node.attributes.get("axis", -1 if net.graph.opset >= 13 else 1) % len(shape)
    if net.graph.opset < 13 and math.prod(shape[axis + 1:]) != 1:
        raise node.refuse(f"over axes {axis} to {len(shape) - 1} together")
    net.give(node, net.layer(node, "Softmax", [net.blob(node)], softmax_param={"axis": axis}))


# --- two operands --------------------------------------------------------------------------------

@operator("Add", "Sub", "Mul", "Div", "Sum", "Max")
def arithmetic(net: Conversion, node: Node) -> None:
    """Eltwise of equal shapes; with a constant Power, Bias or Scale; a value a plane by Scale."""
    constants = [net.is_constant(node, i) for i in range(len(node.inputs))]
    if any(constants):
        if len(constants) != 2 or node.op in ("Sum", "Max"):
            raise node.refuse("of constants and others together")
        _with_constant(net, node, constants.index(True))
        return
    shapes = [net.shape(node, i) for i in range(len(node.inputs))]
    if len(set(shapes)) == 1:
        _elementwise(net, node)
        return
    big = max(range(len(shapes)), key=lambda i: math.prod(shapes[i]))
    _a_plane_each(net, node, big, shapes)


def _elementwise(net: Conversion, node: Node) -> None:
    bottoms = [net.blob(node, i) for i in range(len(node.inputs))]
    if node.op == "Div":
        bottoms[1] = net.layer(node, "Power", [bottoms[1]], part="_inverse",
                               power_param={"power": -1})
    options = {
        "Sub": {"operation": "SUM", "coeff": [1, -1]}, "Max": {"operation": "MAX"},
        "Mul": {"operation": "PROD"}, "Div": {"operation": "PROD"}}.get(node.op)
    net.give(node, net.layer(node, "Eltwise", bottoms, eltwise_param=options))


def _a_plane_each(net: Conversion, node: Node, big: int,
                  shapes: Sequence[tuple[int, ...]]) -> None:
    """x (N, C, H, W) times or plus y (N, C, 1, 1)."""
    small = shapes[1 - big]
    if len(shapes) != 2 or node.op not in ("Add", "Mul") or small[:2] != shapes[big][:2] or \
            math.prod(small[2:]) != 1 or len(small) != len(shapes[big]):
        raise node.refuse(f"of the shapes {', '.join(map(str, shapes))}")
    vector = net.layer(node, "Flatten", [net.blob(node, 1 - big)], part="_flat")
    bottoms, of_images = [net.blob(node, big), vector], {"axis": 0}
    top = net.layer(node, "Scale", bottoms, scale_param=of_images) if node.op == "Mul" else \
        net.layer(node, "Bias", bottoms, bias_param=of_images)
    net.give(node, top)


def _with_constant(net: Conversion, node: Node, place: int) -> None:
    """One number: Power. A number a channel: Bias or Scale."""
    value, bottom = net.values(node, place), net.blob(node, 1 - place)
    factor, shift = np.ones(1), np.zeros(1)
    if node.op == "Add":
        shift = value
    elif node.op == "Sub":
        factor, shift = (np.ones(1), -value) if place else (-np.ones(1), value)
    elif node.op == "Mul" or place:
        factor = value if node.op == "Mul" else 1 / value
    else:
        bottom = net.layer(node, "Power", [bottom], part="_inverse", power_param={"power": -1})
        factor = value
    if factor.size == shift.size == 1:
        net.give(node, net.layer(node, "Power", [bottom], power_param={
            "scale": float(factor.ravel()[0]), "shift": float(shift.ravel()[0])}))
        return
    shape = net.shape(node, 1 - place)
    full = (1,) * (len(shape) - value.ndim) + value.shape
    if len(shape) < 2 or full != (1, shape[1], *[1] * (len(shape) - 2)):
        raise node.refuse(f"a constant of the shape {value.shape} on one of {shape}; one number, "
                          "or one a channel, it may be")
    factors, shifts = (np.broadcast_to(each.ravel(), (shape[1],)) for each in (factor, shift))
    net.give(node, net.layer(node, "Scale", [bottom], blobs=[factors, shifts],
                             scale_param={"bias_term": True}))
