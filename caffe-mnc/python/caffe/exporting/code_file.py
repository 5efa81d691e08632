"""A net as a .py file of plain torch, a line a layer, beside a .safetensors with its weights."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from caffe.engine.errors import CaffeError
from caffe.exporting import plain
from caffe.exporting.fx_text import call, expression, identifier, is_inert
from caffe.exporting.program import OURS, layer_of, program_of
from caffe.exporting.safetensors_file import write_safetensors
from caffe.exporting.targets import TARGETS, Form, Tensors, Written

MOST_NODES = 3          # operators of a layer that stand in its line; more become a function
HEAD = '''"""{title} in plain torch: it needs nothing but torch and {weights} beside it.

    from {module} import Net
    net = Net()
    outputs = net({inputs})         # {{"{output}": tensor, ...}}

{sizes}
"""

import json
import operator
import struct
from pathlib import Path

import torch
import torch.nn.functional as F

TYPES = {{"F32": torch.float32, "F64": torch.float64, "F16": torch.float16, "I64": torch.int64,
         "I32": torch.int32, "BOOL": torch.bool, "U8": torch.uint8}}


def read_weights(path):
    """The tensors of a .safetensors file by name."""
    content = bytearray(Path(path).read_bytes())
    start = 8 + struct.unpack("<Q", content[:8])[0]
    found = {{}}
    for name, about in json.loads(content[8:start]).items():
        first, last = (start + n for n in about["data_offsets"])
        kind = TYPES[about["dtype"]]
        found[name] = torch.frombuffer(content[first:last], dtype=kind).reshape(about["shape"]) \\
            if last > first else torch.zeros(about["shape"], dtype=kind)
    return found
'''
NET = '''

class Net(torch.nn.Module):
    """{title}"""

    def __init__(self, weights=Path(__file__).with_suffix(".safetensors")):
        super().__init__()
        for name, value in read_weights(weights).items():
            learned = value.is_floating_point() and name not in {buffers}
            self.register_parameter(name, torch.nn.Parameter(value)) if learned else \\
                self.register_buffer(name, value)

    def forward(self, {inputs}):
'''
RUN = """
import importlib.util, json, sys
import numpy as np, torch
class Block:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("caffe", "mnc", "pylayer"):
            raise ImportError(name)
sys.meta_path.insert(0, Block())
torch.set_num_threads(1)
spec = importlib.util.spec_from_file_location("net", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
given = np.load(sys.argv[2])
with torch.no_grad():
    found = module.Net()(**{name: torch.from_numpy(given[name]) for name in given})
np.savez(sys.argv[3], **{f"o{i}": value.numpy() for i, value in enumerate(found.values())})
"""


@TARGETS.register("code")
def write_code(module: Any, inputs: Tensors, path: Path, form: Form) -> Written:
    """A .py file that needs torch alone, and a .safetensors of the same name with the weights.

    It is run, to be checked, by a Python of its own in which caffe cannot be imported. Raises
    CaffeError for inputs whose names Python does not take, and operators that torch lacks.
    """
    if not all(name.isidentifier() for name in inputs):
        raise CaffeError(f"code: inputs are arguments there, but {', '.join(inputs)} are no names "
                         "that Python takes")
    text, tensors = _Writer(module, inputs, form, path).written()
    path.write_text(text)
    weights = path.with_name(f"{path.name}.safetensors")
    write_safetensors(weights, tensors)
    return Written(lambda given: _run(path, weights, given, module.outputs), [], weights)


def _run(path: Path, weights: Path, given: Tensors, outputs: list[str]) -> dict[str, torch.Tensor]:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "net.py").write_bytes(path.read_bytes())
        os.symlink(weights.resolve(), place / "net.safetensors")
        arrays: Any = {name: value.cpu().numpy() for name, value in given.items()}
        np.savez(place / "in.npz", **arrays)
        done = subprocess.run([sys.executable, "-c", RUN, *(str(place / name) for name in (
            "net.py", "in.npz", "out.npz"))], capture_output=True, text=True, check=False)
        if done.returncode:
            raise CaffeError(f"the code does not run: {done.stderr.strip().splitlines()[-1]}")
        with np.load(place / "out.npz") as found:
            return {name: torch.from_numpy(found[f"o{i}"]) for i, name in enumerate(outputs)}


class _Writer:
    """The text of a net, from the graph that torch.export follows."""

    def __init__(self, module: Any, inputs: Tensors, form: Form, path: Path) -> None:
        self.program = program_of(module, inputs, form)
        self.module, self.inputs, self.form = module, inputs, form
        self.stem = re.sub(r"\W", "_", path.name.lstrip(".").partition(".")[0]) or "net"
        self.tensors: dict[str, torch.Tensor] = {}
        self.buffers: set[str] = set()
        self.names: dict[Node, str] = {}
        self.functions: list[str] = []
        self.lines: list[str] = []
        self.plain: set[str] = set()
        self.graph = self.program.graph_module.graph

    def written(self) -> tuple[str, dict[str, torch.Tensor]]:
        """The text, and the tensors by their names in it."""
        self._simplify()
        self._name_inputs()
        for layer, nodes in self._by_layer():
            self._write_layer(layer, nodes)
        result, = (node for node in self.graph.nodes if node.op == "output")
        pairs = ", ".join(f"{name!r}: {self._name(value)}" for name, value in zip(
            self.module.outputs, result.args[0]))
        names = ", ".join(self.inputs)
        title = f"A net of {len(self.lines)} lines"
        shapes = ", ".join(f"{name} {tuple(v.shape)}" for name, v in self.inputs.items())
        axes = ", ".join(f"{name} {', '.join(map(str, a))}" for name, a in
                         self.form.dynamic.items())
        sizes = f"Axes of any size: {axes}. Written for {shapes}." if axes else \
            f"It is for inputs of the sizes {shapes}."
        head = HEAD.format(title=title, weights=f"{self.stem}.safetensors", module=self.stem,
                           inputs=names, output=self.module.outputs[0], sizes=sizes)
        net = NET.format(title=title, buffers=sorted(self.buffers) or "()", inputs=names)
        sources = [inspect.getsource(getattr(plain, name)) for name in sorted(self.plain)]
        body = "\n".join([*self.lines, f"        return {{{pairs}}}"]) + "\n"
        return "\n\n".join([head, *sources, *self.functions]).rstrip() + "\n" + net + body, \
            self.tensors

    def _simplify(self) -> None:
        """Take out what changes no value: checks, layouts in memory."""
        for node in list(self.graph.nodes):
            if is_inert(node):
                node.replace_all_uses_with(node.args[0])
                self.graph.erase_node(node)
            elif node.op == "call_function" and "_assert" in str(node.target):
                self.graph.erase_node(node)
        self.graph.eliminate_dead_code()

    def _name_inputs(self) -> None:
        state = {**self.program.state_dict, **self.program.constants}
        specs = {spec.arg.name: spec for spec in self.program.graph_signature.input_specs}
        given = iter(self.inputs)
        for node in self.graph.nodes:
            if node.op != "placeholder":
                continue
            target = specs[node.name].target
            if target is None:
                self.names[node] = next(given)
            elif node.users:
                name = identifier(target.replace(".", "_"), set())
                self.tensors[name] = state[target]
                self.names[node] = f"self.{name}"
                if not isinstance(state[target], torch.nn.Parameter):
                    self.buffers.add(name)

    def _by_layer(self) -> Iterator[tuple[str, list[Node]]]:
        """(layer, its nodes) in order; "" for nodes that are of none."""
        run: list[Node] = []
        last = None
        for node in self.graph.nodes:
            if node.op != "call_function":
                continue
            layer = (layer_of(node) or [""])[0]
            if run and layer != last:
                yield last or "", run
                run = []
            run, last = [*run, node], layer
        if run:
            yield last or "", run

    def _write_layer(self, layer: str, nodes: list[Node]) -> None:
        results = [n for n in nodes if any(user not in nodes for user in n.users)]
        taken = set(self.names.values()) | set(self.inputs) | {"F", "self", "json", "operator",
                                                              "struct", "torch", "Path", "Net"}
        name = identifier(layer or nodes[-1].name, taken)
        about = self._about(layer)
        simple = len(results) == 1 and len(nodes) <= MOST_NODES and results[0] is nodes[-1] \
            and all(len(n.users) == 1 for n in nodes[:-1])
        if simple:
            self.names[results[0]] = name
            line = expression(results[0], self._name, set(nodes), self._foreign)
            self.lines.append(f"        {name} = {line}{about}")
            return
        outside = [a for n in nodes for a in n.all_input_nodes if a not in nodes]
        arguments = list(dict.fromkeys(outside))
        self._write_function(f"{name}_", nodes, arguments, results)
        given = ", ".join(map(self._name, arguments))
        for i, result in enumerate(results):
            self.names[result] = name if len(results) == 1 else identifier(
                f"{name}_{i}", taken | {name})
        found = ", ".join(self.names[result] for result in results)
        self.lines.append(f"        {found} = {name}_({given}){about}")

    def _write_function(self, name: str, nodes: list[Node], arguments: list[Node],
                        results: list[Node]) -> None:
        def local(node: Node) -> str:
            return node.name if node.name not in ("F", "torch") else f"{node.name}_"
        lines = [f"def {name}({', '.join(map(local, arguments))}):"]
        lines += [f"    {local(n)} = {call(n, local, self._foreign)}" for n in nodes]
        lines.append(f"    return {', '.join(map(local, results))}\n")
        self.functions.append("\n".join(lines))

    def _foreign(self, name: str) -> str | None:
        """The function of this file that stands for an operator of ours."""
        if not name.startswith(OURS):
            return None
        short = name.removeprefix(OURS)
        if not hasattr(plain, short):
            raise CaffeError(f"plain torch has no operator for {name}")
        self.plain.add(short)
        return short

    def _name(self, node: Any) -> str:
        return self.names[node] if isinstance(node, Node) else repr(node)

    def _about(self, layer: str) -> str:
        module = self.module
        for part in layer.split(".") if layer else ():
            module = getattr(module, part, None) or module
        kind = getattr(getattr(module, "layer", None), "type", "")
        return f"        # {kind}" if kind else ""
