"""A net out of an ONNX graph: each operator has a function that writes its layers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from caffe.engine.errors import LayerError
from caffe.importing.onnx_graph import Node, OnnxGraph, read_onnx
from caffe.importing.written import WrittenNet

Write = Callable[["Conversion", Node], None]
OPERATORS: dict[str, Write] = {}


def operator(*names: str) -> Callable[[Write], Write]:
    """Decorator: how nodes of these operators are written."""
    def register(write: Write) -> Write:
        OPERATORS.update(dict.fromkeys(names, write))
        return write
    return register


class Conversion:
    """The net as it is being written, and which blob holds which value of the graph."""

    def __init__(self, graph: OnnxGraph) -> None:
        self.graph = graph
        self.net = WrittenNet(graph.name)
        self.blobs: dict[str, str] = {}
        self.padded: dict[str, list[int]] = {}      # values with zeros around them to be added
        for name, shape in graph.inputs.items():
            self.blobs[name] = self.net.input(name, shape)

    def blob(self, node: Node, number: int = 0) -> str:
        """The blob of an input of the node; LayerError where that is a constant."""
        name = node.inputs[number]
        if name in self.padded:
            raise node.refuse("zeros are padded around what it reads; only Conv can take those in")
        if name not in self.blobs:
            raise node.refuse(f"its input {number} ({name}) is a constant, no layer's output")
        return self.blobs[name]

    def constant(self, node: Node, number: int) -> np.ndarray | None:
        """An input of the node that is a constant, of any shape; None if it is not there.

        Raises LayerError where it is computed by the net.
        """
        if number >= len(node.inputs) or not node.inputs[number]:
            return None
        name = node.inputs[number]
        if name not in self.graph.constants:
            raise node.refuse(f"its input {number} ({name}) must be a constant")
        return self.graph.constants[name]

    def values(self, node: Node, number: int) -> np.ndarray:
        """As `constant`, where there must be one: of any shape."""
        found = self.constant(node, number)
        if found is None:
            raise node.refuse(f"it has no input {number}")
        return found

    def shape(self, node: Node, number: int = 0) -> tuple[int, ...]:
        """The shape of an input; LayerError where it is not known."""
        name = node.inputs[number]
        if name in self.graph.constants:
            return self.graph.constants[name].shape
        if name not in self.graph.shapes:
            raise node.refuse(f"the shape of its input {number} ({name}) is not known")
        return self.graph.shapes[name]

    def is_constant(self, node: Node, number: int) -> bool:
        return node.inputs[number] in self.graph.constants

    def layer(self, node: Node, type: str, bottoms: Sequence[str], *,
              blobs: Sequence[np.ndarray] = (), part: str = "", **options: Any) -> str:
        """Append a layer named after the node's output, or a part of it; returns its top.

        blobs: its parameters, in Caffe's order and shapes.
        """
        name = f"{node.outputs[0]}{part}"
        return self.net.layer(name, type, bottoms, **options, blobs=[
            torch.from_numpy(np.array(blob, np.float32)) for blob in blobs])

    def give(self, node: Node, top: str, number: int = 0) -> None:
        """This blob holds that output of the node."""
        self.blobs[node.outputs[number]] = top


def net_of(path: str | os.PathLike[str],
           sizes: Mapping[str, Sequence[int]] | None = None) -> WrittenNet:
    """The Caffe net of an ONNX file; sizes: of inputs whose shape the file leaves open.

    Raises LayerError that names each operator without a counterpart with its node, or a node whose
    attributes have none; for the rest see `read_onnx`.
    """
    import caffe.importing.onnx_operators
    import caffe.importing.onnx_shapes  # noqa: F401      they fill OPERATORS

    graph = read_onnx(path, sizes)
    unknown = [f'{node.op} (node "{node.name or node.outputs[0]}")' for node in graph.nodes
               if node.op not in OPERATORS]
    if unknown:
        more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
        raise LayerError(f"{path}: operators without a counterpart in Caffe: "
                         f"{', '.join(unknown[:8])}{more}")
    written = Conversion(graph)
    if graph.name in ("", "main_graph"):        # torch's exporter calls all of them so
        written.net.message.name = Path(path).stem
    for node in graph.nodes:
        try:
            OPERATORS[node.op](written, node)
        except LayerError as error:
            raise LayerError(f"{path}: {error}") from error
    return _with_outputs(written)


def _with_outputs(written: Conversion) -> WrittenNet:
    """Outputs under their names in the graph: an alias of another blob gets a layer of its own."""
    for name in written.graph.outputs:
        blob = written.blobs.get(name)
        if blob is not None and blob != name:
            written.net.layer(name, "Power", [blob])
    return written.net
