"""Nodes of a graph of torch.export as Python text."""

from __future__ import annotations

import keyword
import math
import operator
import re
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch.fx import Node

INERT = ("aten::detach", "aten::detach_", "aten::alias", "aten::lift_fresh_copy")
INFIX = {operator.add: "+", operator.sub: "-", operator.mul: "*", operator.floordiv: "//",
         operator.truediv: "/", operator.mod: "%", operator.ge: ">=", operator.gt: ">",
         operator.le: "<=", operator.lt: "<", operator.eq: "==", operator.ne: "!="}
Name = Callable[[Node], str]
Foreign = Callable[[str], str | None]


def is_inert(node: Node) -> bool:
    """Whether what the node gives is what it takes, perhaps in another layout."""
    name = schema_name(node)
    return name in INERT or (name == "aten::contiguous"
                             and node.kwargs.get("memory_format") == torch.channels_last)


def schema_name(node: Node) -> str:
    """aten::relu, caffe::nms_of_lists; empty for what is no operator of torch."""
    target: Any = node.target
    return target.name().partition(".")[0] if isinstance(target, torch._ops.OpOverload) else ""


def identifier(name: str, taken: set[str]) -> str:
    """A name that Python takes, none of `taken`."""
    name = re.sub(r"\W", "_", name) or "_"
    name = f"_{name}" if name[0].isdigit() or keyword.iskeyword(name) else name
    while name in taken:
        name += "_"
    return name


def expression(node: Node, name: Name, inline: set[Node], foreign: Foreign) -> str:
    """The node with the nodes of `inline` that it reads in its place."""
    def named(other: Node) -> str:
        if other in inline and other is not node:
            return expression(other, name, inline, foreign)
        return name(other)
    return call(node, named, foreign)


def call(node: Node, name: Name, foreign: Foreign) -> str:
    """The node as a call of torch's functions, or as an operator of Python's."""
    values = [_text(value, name) for value in node.args]
    target: Any = node.target
    if target is operator.getitem:
        return f"{values[0]}[{values[1]}]"
    if target in INFIX:
        return f"({values[0]} {INFIX[target]} {values[1]})"
    named = [f"{key}={_text(value, name)}" for key, value in node.kwargs.items()
             if key not in ("device", "pin_memory", "layout")]
    schema = schema_name(node)
    if schema == "aten::sym_size":
        return f"{values[0]}.shape[{values[1]}]"
    if schema in ("aten::to", "aten::item", "aten::expand"):
        rest = [value for value in values[1:] if not value.startswith("torch.device")]
        return f"{values[0]}.{schema[6:]}({', '.join([*rest, *named])})"
    return f"{_function(node, schema, foreign)}({', '.join([*values, *named])})"


def _function(node: Node, schema: str, foreign: Foreign) -> str:
    target: Any = node.target
    if not schema:
        module = getattr(target, "__module__", "") or ""
        known = {"math": "math", "_operator": "operator"}.get(module, "torch")
        return f"{known}.{target.__name__}"
    own = foreign(schema)
    if own:
        return own
    short = schema.removeprefix("aten::")
    if not short.startswith("_"):
        for place, words in ((torch, "torch"), (F, "F")):
            if callable(getattr(place, short, None)):
                return f"{words}.{short}"
    return f"torch.ops.{target!s}"


def _text(value: Any, name: Name) -> str:
    if isinstance(value, Node):
        return name(value)
    if isinstance(value, (list, tuple)):
        inner = ", ".join(_text(each, name) for each in value)
        return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' * (len(value) == 1)})"
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, torch.device):
        return f'torch.device("{value}")'
    return repr(value)
