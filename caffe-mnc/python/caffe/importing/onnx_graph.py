"""An ONNX model as nodes, constants and shapes: what is known before it runs is computed here."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from caffe.engine.errors import LayerError, WeightsError
from caffe.engine.formats.image_file import read_file
from caffe.engine.optional import need

MOST_FOLDED = 2**24         # values of a constant that is computed


@dataclass
class Node:
    """An operator with its attributes as Python values."""

    op: str
    name: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    attributes: Mapping[str, Any]

    @property
    def title(self) -> str:
        return f'node "{self.name or self.outputs[0]}" ({self.op})'

    def refuse(self, why: str) -> LayerError:
        """The error to raise where this node has no counterpart."""
        return LayerError(f"{self.title}: {why}")


@dataclass
class OnnxGraph:
    """Nodes in order, without those whose values are constants."""

    name: str
    inputs: dict[str, tuple[int, ...]]
    outputs: list[str]
    opset: int
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)


def read_onnx(path: str | os.PathLike[str],
              sizes: Mapping[str, Sequence[int]] | None = None) -> OnnxGraph:
    """The graph of a file; sizes: of inputs whose shape the file leaves open.

    A batch of unknown size is 1. Raises WeightsError if it is no such file, ImportError without the
    package onnx, LayerError for an input of unknown size.
    """
    onnx = need("onnx.shape_inference", package="onnx", feature="caffe import FILE.onnx")
    try:
        read_file(path)
        model = onnx.load(os.fspath(path))
    except OSError:
        raise
    except Exception as error:              # protobuf, onnx: each in types of its own
        raise WeightsError(f"{path}: not an ONNX model that can be read: {error}") from error
    if not model.graph.node:
        raise WeightsError(f"{path}: not an ONNX model that can be read: it has no nodes")
    initial = {tensor.name: onnx.numpy_helper.to_array(tensor)
               for tensor in model.graph.initializer}
    inputs = {value.name: _size_of(value, (sizes or {}).get(value.name), path)
              for value in model.graph.input if value.name not in initial}
    unknown = set(sizes or {}) - set(inputs)
    if unknown:
        raise LayerError(f"{path}: no input {', '.join(sorted(unknown))}; there are "
                         f"{', '.join(inputs)}")
    try:
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:
        raise WeightsError(f"{path}: shapes cannot be inferred: {error}") from error
    opset = max((each.version for each in model.opset_import if not each.domain), default=1)
    graph = OnnxGraph(model.graph.name or "net", inputs, [v.name for v in model.graph.output],
                      opset, constants=initial)
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        dims = [d.dim_value for d in value.type.tensor_type.shape.dim]
        if all(dims):
            graph.shapes[value.name] = tuple(dims)
    for node in model.graph.node:
        _take(graph, node, onnx)
    return graph


def _size_of(value: Any, given: Sequence[int] | None, path: object) -> tuple[int, ...]:
    """The shape of an input, which is written into the model, too."""
    dims = value.type.tensor_type.shape.dim
    if given is not None and len(given) != len(dims):
        raise LayerError(f"{path}: the input {value.name} has {len(dims)} axes, got "
                         f"{'x'.join(map(str, given))}")
    for axis, dim in enumerate(dims):
        if given is not None:
            dim.dim_value = given[axis]
        elif not dim.dim_value and axis == 0:
            dim.dim_value = 1
        elif not dim.dim_value:
            raise LayerError(f"{path}: the size of the input {value.name} is open; give it: "
                             f"--input {value.name}=1x3x224x224")
    return tuple(dim.dim_value for dim in dims)


def _take(graph: OnnxGraph, proto: Any, onnx: Any) -> None:
    """Append a node, or its values to the constants where all that it reads is constant."""
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}
    decoded = {k: v.decode() if isinstance(v, bytes) else v for k, v in attributes.items()}
    node = Node(proto.op_type, proto.name, [*proto.input], [*proto.output], decoded)
    if node.op == "Shape" and node.inputs[0] in graph.shapes and not decoded:
        graph.constants[node.outputs[0]] = np.array(graph.shapes[node.inputs[0]], np.int64)
        return
    known = all(not name or name in graph.constants for name in node.inputs)
    if not known or node.op.startswith("Random") or any(
            a.type in (a.GRAPH, a.GRAPHS) for a in proto.attribute):
        graph.nodes.append(node)
        return
    from onnx.reference import ReferenceEvaluator

    values = {name: graph.constants[name] for name in node.inputs if name}
    size = sum(value.size for value in values.values())
    largest = max((math.prod(graph.shapes.get(name, ())) for name in node.outputs), default=0)
    if max(size, largest) > MOST_FOLDED:
        raise node.refuse("a constant too large to be computed")
    model = onnx.helper.make_model(onnx.helper.make_graph(
        [proto], "constant", [onnx.helper.make_tensor_value_info(
            name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in values.items()],
        [onnx.helper.make_empty_tensor_value_info(name) for name in node.outputs]),
        opset_imports=[onnx.helper.make_opsetid("", graph.opset)])
    try:
        found = ReferenceEvaluator(model).run(None, values)
    except Exception as error:
        raise node.refuse(f"its value cannot be computed: {error}") from error
    graph.constants.update(zip(node.outputs, map(np.asarray, found)))
