"""The graph of a module, by torch.export, and which layers its operators are of."""

from __future__ import annotations

import copy
import inspect
import logging
import math
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from caffe.engine.errors import CaffeError, LayerError
from caffe.exporting.targets import Form, Tensors

OURS = "caffe::"
ALIKE = re.compile(r"L\['(\w+)'\]\.size\(\)\[(\d+)\] == L\['(\w+)'\]\.size\(\)\[(\d+)\]")
TRIES = 40      # sizes at which a graph of dynamic sizes has to hold


class Halves(nn.Module):
    """A module in 16 bits whose inputs and outputs are of the precision they had."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.inputs, self.outputs = module.inputs, module.outputs
        self.module = copy.deepcopy(module).half()

    def forward(self, **named: torch.Tensor) -> dict[str, torch.Tensor]:
        """As the module's. Of any shapes that it takes."""
        found = self.module(**{name: value.half() for name, value in named.items()})
        kind = next(iter(named.values())).dtype
        return {name: value.to(kind) if value.is_floating_point() else value
                for name, value in found.items()}


def program_of(module: Any, inputs: Tensors, form: Form) -> torch.export.ExportedProgram:
    """The graph that the module runs on inputs of these shapes, or of any where form.dynamic.

    Raises CaffeError where what is done depends on values, or on sizes that were to be dynamic.
    """
    if module.bound:
        raise CaffeError(f"{'; '.join(module.bound)}. To leave such layers out, ask for blobs "
                         f"before them (outputs=[...], --outputs)")
    shapes = {name: dict.fromkeys(form.dynamic.get(name, ()), torch.export.Dim.DYNAMIC)
              for name in inputs}
    try:
        with _signed(Halves(module) if form.half else module, list(inputs)) as signed:
            program = torch.export.export(signed, (), dict(inputs), strict=False,
                                          dynamic_shapes=shapes if form.dynamic else None)
        _hold_everywhere(program, inputs, form)
        return program
    except LayerError as error:
        raise CaffeError(f"{str(error).splitlines()[0][:300]} (torch.export cannot follow what "
                         f"depends on values)") from error
    except (torch._dynamo.exc.UserError, RuntimeError, ValueError, AssertionError) as error:
        raise CaffeError(_unfollowed(error, form)) from error


@contextmanager
def _signed(module: nn.Module, names: list[str]) -> Iterator[nn.Module]:
    """The module with the names of its inputs as its signature, which torch.export reads."""
    if not all(name.isidentifier() for name in names):
        yield module        # then sizes cannot be dynamic
        return
    run = module.forward

    def forward(**named: torch.Tensor) -> dict[str, torch.Tensor]:
        return run(**named)
    forward.__signature__ = inspect.Signature([         # type: ignore[attr-defined]
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names])
    module.forward = forward
    try:
        yield module
    finally:
        del module.forward


def _hold_everywhere(program: torch.export.ExportedProgram, inputs: Tensors, form: Form) -> None:
    """Raise CaffeError if the graph was followed in a way that is right for some sizes only.

    torch.export notes what it relied on; ONNX files would not say it. Axes of two inputs that have
    to be alike, as of RoIs and their masks, are no such size.
    """
    random, guards = np.random.default_rng(0), list(getattr(program, "_guards_code", ()))
    alike = [match.groups() for match in map(ALIKE.fullmatch, guards) if match]
    for _ in range(TRIES if form.dynamic else 0):
        shapes = {name: [int(random.integers(3 * n // 4, 3 * n // 2 + 1))
                         if i in form.dynamic.get(name, ()) else n
                         for i, n in enumerate(value.shape)] for name, value in inputs.items()}
        for name, axis, other, place in alike:
            shapes[name][int(axis)] = shapes[other][int(place)]
        known = {"L": {name: torch.empty(shape, device="meta") for name, shape in shapes.items()},
                 "math": math, "torch": torch}
        for relied in guards:
            if not eval(relied, known):     # torch's own words
                sizes = ", ".join(f"{name} {tuple(s)}" for name, s in shapes.items())
                raise CaffeError(f"dynamic: the net does otherwise at {sizes}: torch.export relied "
                                 f"on {relied[:200]}")


def _unfollowed(error: BaseException, form: Form) -> str:
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip()]
    if form.dynamic:
        about = next((line for line in lines if "specialized" in line or "onstraint" in line),
                     lines[0] if lines else type(error).__name__)
        return f"dynamic: the net fixes a size that was to be any: {about[:300]}"
    return f"torch.export cannot follow the net: {lines[0][:300] if lines else error}"


def foreign_of(program: torch.export.ExportedProgram) -> dict[str, str]:
    """Operators of ours in a graph -> the layers they are of."""
    return layers_of(program, lambda operator: operator.startswith(OURS))


def layers_of(program: torch.export.ExportedProgram,
              chosen: Callable[[str], bool]) -> dict[str, str]:
    """Operators of the graph that are chosen -> the layers they are of."""
    found: dict[str, list[str]] = {}
    for node in program.graph.nodes:
        name: Any = getattr(node.target, "name", None)
        operator = name() if node.op == "call_function" and callable(name) else ""
        if operator and chosen(operator):
            found.setdefault(operator, []).extend(layer_of(node))
    return {operator: "layer " + ", ".join(f'"{name}"' for name in dict.fromkeys(layers))
            for operator, layers in found.items()}


def layer_of(node: Any) -> list[str]:
    """The layer that a node of a graph is of, by its name in the module; empty for none."""
    stack = [path for path, kind in node.meta.get("nn_module_stack", {}).values()
             if path and "LayerModule" in str(kind)]
    return [re.sub(r"^(net|module)\.", "", stack[-1]).removeprefix("module.")] if stack else []


@contextmanager
def quiet(*others: str) -> Iterator[None]:
    """Without what torch's exporters say of their own insides, and other loggers by name."""
    names = ("torch.onnx", "onnx_ir", "onnxscript", *others)
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
