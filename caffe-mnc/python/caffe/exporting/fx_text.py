"""Nodes of a graph of torch.export as Python text, of the kind that torch.jit.script takes, too."""

from __future__ import annotations

import inspect
import keyword
import math
import operator
import re
import types
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch.fx import Node

INERT = ("aten::detach", "aten::detach_", "aten::alias", "aten::lift_fresh_copy")
ENDLESS = 2 ** 62       # from here on an end of a slice is that of the axis
# of sizes, and of tensors, where they stand between two operands
INFIX = {operator.add: "+", operator.sub: "-", operator.mul: "*", operator.floordiv: "//",
         operator.truediv: "/", operator.mod: "%", operator.pow: "**", operator.ge: ">=",
         operator.gt: ">", operator.le: "<=", operator.lt: "<", operator.eq: "==",
         operator.ne: "!="}
OF_TENSORS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**", "ge": ">=", "gt": ">",
              "le": "<=", "lt": "<", "eq": "==", "ne": "!=", "__and__": "&", "__or__": "|",
              "bitwise_and": "&", "bitwise_or": "|"}
# written in Python, these take what the operators take; others of F do not (unfold, elu)
ALIKE = ("hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "pad", "relu6")
BUILT_IN = {"sym_max": "max", "sym_min": "min", "sym_float": "float", "sym_int": "int",
            "trunc": "int", "sym_not": "not "}
SYMBOLS = {torch.SymInt: "int", torch.SymFloat: "float", torch.SymBool: "bool"}
Name = Callable[[Node], str]
Foreign = Callable[[str], str | None]


def is_inert(node: Node) -> bool:
    """Whether what the node gives is what it takes, perhaps in another layout."""
    name = schema_name(node)
    return name in INERT or (name == "aten::slice" and _bounds(node)[1] == ":") or (
        name == "aten::contiguous" and node.kwargs.get("memory_format") == torch.channels_last)


def schema_name(node: Node) -> str:
    """aten::relu, caffe::nms_of_lists; empty for what is no operator of torch."""
    target: Any = node.target
    return target.name().partition(".")[0] if isinstance(target, torch._ops.OpOverload) else ""


def number_type(node: Node) -> str:
    """int, float or bool for a node that is a number; empty for one that is a tensor."""
    return SYMBOLS.get(type(node.meta.get("val")), "")


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
            return _text_of(other, named, foreign)
        return name(other)
    return call(node, named, foreign)


def call(node: Node, name: Name, foreign: Foreign) -> str:
    """The node as a call of torch's functions, or as an operator of Python's."""
    text = _text_of(node, name, foreign)
    if node.target is operator.getitem or not text.startswith("("):
        return text
    depth = 0
    for i, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return text[1:-1] if i == len(text) - 1 else text
    return text


def _text_of(node: Node, name: Name, foreign: Foreign) -> str:
    """As an operand: what has operators stands in parentheses."""
    values = [_value(value, name) for value in node.args]
    target: Any = node.target
    if target is operator.getitem:
        return f"{values[0]}[{values[1]}]"
    if target in INFIX:
        return f"({values[0]} {INFIX[target]} {values[1]})"
    named = [f"{key}={_value(value, name)}" for key, value in node.kwargs.items()
             if key not in ("device", "pin_memory", "layout")]
    own = _own_words(node, values, name) if not named else None
    if own is not None:
        return own
    schema = schema_name(node)
    if schema in ("aten::to", "aten::expand"):
        rest = [value for value in values[1:] if not value.startswith("torch.device")]
        return f"{values[0]}.{schema[6:]}({', '.join([*rest, *named])})"
    if not schema:
        return f"{_of_numbers(target)}({', '.join([*values, *named])})"
    function = foreign(schema) or _function(node, schema.removeprefix("aten::"))
    if function == ".":
        return f"{values[0]}.{schema[6:]}({', '.join([*values[1:], *named])})"
    return f"{function}({', '.join([*values, *named])})"


def _own_words(node: Node, values: list[str], name: Name) -> str | None:
    """What Python has operators, indices or names of its own for."""
    short = schema_name(node).removeprefix("aten::")
    if short in OF_TENSORS and len(values) == 2:
        return f"({values[0]} {OF_TENSORS[short]} {values[1]})"
    if short == "rsub" and len(values) == 2:
        return f"({values[1]} - {values[0]})"
    if short in ("neg", "bitwise_not"):
        return f"({'-' if short == 'neg' else '~'}{values[0]})"
    if short == "numpy_T":
        return f"{values[0]}.T"
    if short == "sym_size":
        return f"{values[0]}.shape[{values[1]}]"
    if short == "item":
        return f"{number_type(node) or 'float'}({values[0]})"
    if short == "index":
        chosen: Any = node.args[1]
        return f"{values[0]}[{', '.join(':' if i is None else name(i) for i in chosen)}]"
    if short in ("slice", "select"):
        axis, chosen = _bounds(node, name) if short == "slice" else (
            node.args[1], _value(node.args[2], name))
        if isinstance(axis, int) and axis >= 0:
            return f"{values[0]}[{':, ' * axis}{chosen}]"
    return None


def _bounds(node: Node, name: Name = str) -> tuple[Any, str]:
    """Axis and start:end:step of a slice."""
    given: list[Any] = [*node.args, *[None, 0, None, None, 1][len(node.args):]]
    _, axis, start, end, step = given
    first = "" if start in (0, None) else _value(start, name)
    last = "" if end is None or (isinstance(end, int) and end > ENDLESS) else _value(end, name)
    behind = "" if step == 1 else f":{_value(step, name)}"
    return axis or 0, f"{first}:{last}{behind}"


def _of_numbers(target: Any) -> str:
    """The name of a function of sizes."""
    word = BUILT_IN.get(target.__name__)
    if word is not None:
        return word
    module = getattr(target, "__module__", "")
    place = {"math": "math", "_operator": "operator"}.get(module, "torch")
    return f"{place}.{target.__name__}"


def _function(node: Node, short: str) -> str:
    """The function of torch that is this operator; "." for a method of its first argument."""
    if not short.startswith("_"):
        for place, words in ((torch, "torch"), (F, "F")):
            known = isinstance(getattr(place, short, None), types.BuiltinFunctionType)
            if known or (place is F and short in ALIKE):
                return f"{words}.{short}"
        if inspect.ismethoddescriptor(getattr(torch.Tensor, short, None)):
            return "."
    target: Any = node.target
    return f"torch.ops.{str(target).rpartition('.')[0]}"


def _value(value: Any, name: Name) -> str:
    if isinstance(value, Node):
        return name(value)
    if isinstance(value, (list, tuple)):
        inner = ", ".join(_value(each, name) for each in value)
        return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' * (len(value) == 1)})"
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, torch.device):
        return f'torch.device("{value}")'
    return repr(value)
