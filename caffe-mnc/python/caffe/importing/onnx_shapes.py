"""Operators that move values: concatenation, parts, other shapes, padding, enlarging."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from caffe.importing.onnx_graph import Node
from caffe.importing.onnx_net import Conversion, operator


@operator("Identity", "Dropout", "Cast")
def same(net: Conversion, node: Node) -> None:
    """Nothing: the blob goes by both names."""
    net.give(node, net.blob(node))


@operator("Concat")
def concat(net: Conversion, node: Node) -> None:
    """Concat"""
    rank = len(net.shape(node))
    bottoms = [net.blob(node, i) for i in range(len(node.inputs))]
    net.give(node, net.layer(node, "Concat", bottoms,
                             concat_param={"axis": node.attributes["axis"] % rank}))


@operator("Split")
def split(net: Conversion, node: Node) -> None:
    """Slice"""
    shape = net.shape(node)
    axis = node.attributes.get("axis", 0) % len(shape)
    sizes = net.constant(node, 1)
    given = node.attributes.get("split") if sizes is None else sizes.ravel().tolist()
    if given is None:
        step = math.ceil(shape[axis] / len(node.outputs))
        given = [min(step, shape[axis] - step * i) for i in range(len(node.outputs))]
    for number, top in enumerate(_sliced(net, node, net.blob(node), axis, given)):
        net.give(node, top, number)


def _sliced(net: Conversion, node: Node, bottom: str, axis: int,
            sizes: Sequence[int]) -> list[str]:
    """The parts of these sizes along an axis."""
    tops = [*node.outputs] if len(node.outputs) == len(sizes) else \
        [f"{node.outputs[0]}_{axis}_{i}" for i in range(len(sizes))]
    points = np.cumsum(sizes)[:-1].tolist()
    layer = net.net.message.layer.add(name=f"{node.outputs[0]}_slice{axis}", type="Slice",
                                      bottom=[bottom], top=tops)
    layer.slice_param.axis = axis
    layer.slice_param.slice_point.extend(points)
    return tops


@operator("Slice")
def part(net: Conversion, node: Node) -> None:
    """A Slice an axis; what is not taken ends in Silence."""
    shape, bottom = net.shape(node), net.blob(node)
    a = node.attributes
    given = [net.constant(node, i) for i in (1, 2, 3, 4)]
    starts, ends, chosen, steps = (
        [*a.get(what, ())] if value is None else value.ravel().tolist()
        for what, value in zip(("starts", "ends", "axes", "steps"), given))
    axes = chosen or range(len(starts))
    if any(step != 1 for step in steps):
        raise node.refuse(f"steps {steps}")
    for start, end, axis in zip(starts, ends, axes):
        axis %= len(shape)
        first, last, _ = slice(start, end).indices(shape[axis])
        if (first, last) == (0, shape[axis]):
            continue
        sizes = [n for n in (first, last - first, shape[axis] - last) if n]
        tops = _sliced(net, node, bottom, axis, sizes)
        bottom = tops[1 if first else 0]
        silent = net.net.message.layer.add(name=f"{node.outputs[0]}_rest{axis}", type="Silence")
        silent.bottom.extend(top for top in tops if top != bottom)
    net.give(node, bottom)


@operator("Reshape")
def reshape(net: Conversion, node: Node) -> None:
    """Reshape; the number of images stays open."""
    before = net.shape(node)
    given = net.values(node, 1).ravel().tolist()
    _reshaped(net, node, [before[i] if n == 0 and not node.attributes.get("allowzero") else n
                          for i, n in enumerate(given)])


@operator("Squeeze", "Unsqueeze")
def axes_of_one(net: Conversion, node: Node) -> None:
    """Reshape to the shape that the file says."""
    if node.outputs[0] not in net.graph.shapes:
        raise node.refuse("the shape of its output is not known")
    _reshaped(net, node, [*net.graph.shapes[node.outputs[0]]])


def _reshaped(net: Conversion, node: Node, dims: list[int]) -> None:
    before = net.shape(node)
    if dims and before and dims[0] == before[0]:
        dims[0] = 0
    net.give(node, net.layer(node, "Reshape", [net.blob(node)],
                             reshape_param={"shape": {"dim": dims}}))


@operator("Flatten")
def flatten(net: Conversion, node: Node) -> None:
    """All axes from the second on."""
    if node.attributes.get("axis", 1) % max(len(net.shape(node)), 1) != 1:
        raise node.refuse(f"from axis {node.attributes['axis']} on; from axis 1 it is Flatten")
    net.give(node, net.layer(node, "Flatten", [net.blob(node)]))


@operator("Transpose")
def transpose(net: Conversion, node: Node) -> None:
    """Permute"""
    rank = len(net.shape(node))
    net.give(node, net.layer(node, "Permute", [net.blob(node)], permute_param={
        "order": node.attributes.get("perm", [*range(rank)][::-1])}))


@operator("Pad")
def pad(net: Conversion, node: Node) -> None:
    """Zeros around planes, which the convolution that follows takes in."""
    rank = len(net.shape(node))
    given = net.constant(node, 1)
    pads = [*(node.attributes["pads"] if given is None else given.ravel().tolist())]
    value, axes = net.constant(node, 2), net.constant(node, 3)
    if axes is not None:
        chosen = [axis % rank for axis in axes.ravel().tolist()]
        pads = [pads[chosen.index(axis) + half * len(chosen)] if axis in chosen else 0
                for half in (0, 1) for axis in range(rank)]
    number = node.attributes.get("value", 0.0) if value is None else float(value.ravel()[0])
    net.give(node, net.blob(node))
    if not any(pads):
        return
    if node.attributes.get("mode", "constant") != "constant" or number or min(pads) < 0 or \
            any(pads[:2] + pads[rank:rank + 2]):
        raise node.refuse(f"mode {node.attributes.get('mode', 'constant')}, value {number:g}, pads "
                          f"{pads}; zeros around planes it may be")
    net.padded[node.outputs[0]] = pads


@operator("Resize")
def resize(net: Conversion, node: Node) -> None:
    """Whole factors by repetition (Upsample), others between aligned corners (Interp)."""
    before, a = net.shape(node), node.attributes
    after = net.graph.shapes.get(node.outputs[0])
    if after is None or len(before) != 4 or after[:2] != before[:2]:
        raise node.refuse(f"from {before} to {after}; planes of known sizes it may be")
    mode = a.get("mode", "nearest")
    where = a.get("coordinate_transformation_mode", "half_pixel")
    factors = {n / m for n, m in zip(after[2:], before[2:])}
    factor = next(iter(factors))
    rounding = a.get("nearest_mode", "round_prefer_floor")
    repeats = (where, rounding) in (("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"),
                                    ("half_pixel", "round_prefer_ceil"))
    if mode == "nearest" and len(factors) == 1 and factor == int(factor) and repeats:
        top = net.layer(node, "Upsample", [net.blob(node)], upsample_param={
            "scale": int(factor)})
    elif mode == "linear" and where == "align_corners":
        top = net.layer(node, "Interp", [net.blob(node)],
                        interp_param={"height": after[2], "width": after[3]})
    else:
        raise node.refuse(f"mode {mode}, {where}, {rounding}, from {before[2:]} to {after[2:]}; "
                          "nearest by a whole factor, or linear with aligned corners it may be")
    net.give(node, top)
