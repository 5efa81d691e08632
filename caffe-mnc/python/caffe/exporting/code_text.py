"""A net as the text of plain torch code, a line a layer, from the graph of torch.export."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Node

from caffe.engine.errors import CaffeError
from caffe.exporting import plain
from caffe.exporting.fx_text import call, expression, identifier, is_inert, number_type
from caffe.exporting.program import OURS, layer_of, program_of
from caffe.exporting.targets import Form, Tensors

MOST_NODES, WIDEST = 4, 120     # of a layer that stands in its line; more become a function
RESERVED = {"F", "Net", "Path", "bool", "float", "int", "json", "math", "max", "min", "operator",
            "read_weights", "self", "struct", "torch",
            *(name for name in vars(plain) if not name.startswith("_"))}
HEAD = '''"""{title} in plain torch: it needs nothing but torch and {weights} beside it.

    from {module} import Net
    net = Net()
    outputs = net({inputs})         # {{"{output}": tensor, ...}}

{sizes}
"""

{imports}
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


@dataclass(frozen=True)
class Code:
    """A .py file's text, and the tensors, of any shapes, that it reads by their names in it."""

    text: str
    tensors: dict[str, torch.Tensor]


def code_of(module: Any, inputs: Tensors, form: Form, stem: str, *, in_order: bool = False) -> Code:
    """The net as code for a file of that name.

    in_order: `forward` gives a tuple of the outputs, not a dictionary. Raises CaffeError for inputs
    whose names Python does not take, and operators that torch lacks.
    """
    if not all(name.isidentifier() for name in inputs):
        raise CaffeError(f"code: inputs are arguments there, but {', '.join(inputs)} are no names "
                         "that Python takes")
    return _Writer(module, inputs, form).written(re.sub(r"\W", "_", stem) or "net", in_order)


class _Writer:
    def __init__(self, module: Any, inputs: Tensors, form: Form) -> None:
        self.program = program_of(module, inputs, form)
        self.module, self.inputs, self.form = module, inputs, form
        self.tensors: dict[str, torch.Tensor] = {}
        self.buffers: set[str] = set()
        self.names: dict[Node, str] = {}
        self.functions: list[str] = []
        self.lines: list[str] = []
        self.plain: set[str] = set()
        self.graph = self.program.graph_module.graph

    def written(self, stem: str, in_order: bool) -> Code:
        self._simplify()
        self._name_inputs()
        for layer, nodes in self._by_layer():
            self._write_layer(layer, nodes)
        title = f"A net of {len(self.lines)} lines"
        sources = [inspect.getsource(getattr(plain, name)) for name in sorted(self.plain)]
        body = "\n".join([*self.lines, f"        return {self._results(in_order)}"])
        head = self._head(stem, title, "".join([*self.functions, body]))
        net = NET.format(title=title, buffers=sorted(self.buffers) or "()",
                         inputs=", ".join(self.inputs))
        text = "\n\n".join([head, *sources, *self.functions]).rstrip() + f"\n{net}{body}\n"
        return Code(text, self.tensors)

    def _results(self, in_order: bool) -> str:
        output, = (node for node in self.graph.nodes if node.op == "output")
        values = [self._name(value) for value in output.args[0]]
        if in_order:
            return f"({', '.join(values)},)"
        pairs = (f"{name!r}: {value}" for name, value in zip(self.module.outputs, values))
        return f"{{{', '.join(pairs)}}}"

    def _head(self, stem: str, title: str, body: str) -> str:
        shapes = ", ".join(f"{name} {tuple(v.shape)}" for name, v in self.inputs.items())
        axes = ", ".join(f"{name} {', '.join(map(str, a))}" for name, a in
                         self.form.dynamic.items())
        sizes = f"Axes of any size: {axes}. Written for {shapes}." if axes else \
            f"It is for inputs of the sizes {shapes}."
        modules = ["json", *(each for each in ("math", "operator") if f" {each}." in
                             body.replace("(", " ")), "struct"]
        return HEAD.format(title=title, weights=f"{stem}.safetensors", module=stem, sizes=sizes,
                           inputs=", ".join(self.inputs), output=self.module.outputs[0],
                           imports="\n".join(f"import {each}" for each in modules))

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
        taken = set(self.names.values()) | set(self.inputs) | RESERVED
        name = identifier(layer or nodes[-1].name, taken)
        about = self._about(layer)
        if len(results) == 1 and len(nodes) <= MOST_NODES and results[0] is nodes[-1] \
                and all(len(n.users) == 1 for n in nodes[:-1]):
            text = expression(results[0], self._name, set(nodes), self._foreign)
            line = f"        {name} = {text}"
            if len(nodes) == 1 or len(line) < WIDEST:
                self.names[results[0]] = name
                self.lines.append(line + about)
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
        names: dict[Node, str] = {}
        for node in [*arguments, *nodes]:
            word = self._name(node).removeprefix(f"self.{name}") if node in arguments else node.name
            names[node] = identifier(word.removeprefix("self."), RESERVED | set(names.values()))
        local = names.__getitem__
        typed = [names[a] + (f": {kind}" if (kind := number_type(a)) else "") for a in arguments]
        lines = [f"def {name}({', '.join(typed)}):"]
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
