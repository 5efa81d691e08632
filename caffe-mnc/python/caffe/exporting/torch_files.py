"""Files that torch itself runs: a state_dict, a program of torch.export, TorchScript."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch

from caffe.engine.errors import CaffeError
from caffe.exporting.program import foreign_of, program_of
from caffe.exporting.targets import TARGETS, Form, Tensors, Written


@TARGETS.register("torch")
def write_state_dict(module: Any, inputs: Tensors, path: Path, form: Form) -> Written:
    """The weights alone, as torch.save writes a state_dict; `net.to_torch()` loads them."""
    state = module.state_dict()
    if form.half:
        state = {name: value.half() for name, value in state.items()}
    torch.save(state, path)
    again = copy.deepcopy(module)
    for values in again.state_dict().values():
        values.zero_()
    again.load_state_dict(torch.load(path, weights_only=True))
    return Written(lambda given: again(**given))


@TARGETS.register("pt2")
def write_program(module: Any, inputs: Tensors, path: Path, form: Form) -> Written:
    """The graph and the weights, as torch.export.save writes them; torch alone runs them."""
    program = program_of(module, inputs, form)
    with open(path, "wb") as file:
        torch.export.save(program, file)
    with open(path, "rb") as written:
        again = torch.export.load(written).module()
    return Written(lambda given: again(**given), sorted(foreign_of(program)))


@TARGETS.register("torchscript")
def write_script(module: Any, inputs: Tensors, path: Path, form: Form) -> Written:
    """TorchScript of fixed sizes: what `torch.jit.load` takes, in C++ too; a tuple of the outputs.

    Raises CaffeError where sizes are to be dynamic.
    """
    if form.dynamic:
        raise CaffeError("TorchScript files have the sizes they were traced with; --dynamic is for "
                         "pt2, onnx and code")
    program = program_of(module, inputs, form)
    traced = torch.jit.trace(_InOrder(program, list(inputs)), tuple(inputs.values()),
                             check_trace=False)
    with open(path, "wb") as file:
        torch.jit.save(traced, file)
    with open(path, "rb") as written:
        again = torch.jit.load(written)

    def run(given: Tensors) -> dict[str, torch.Tensor]:
        return dict(zip(module.outputs, again(*(given[name] for name in inputs))))
    return Written(run, sorted(foreign_of(program)))


class _InOrder(torch.nn.Module):
    """A program with inputs and outputs in their order, as TorchScript has them."""

    def __init__(self, program: torch.export.ExportedProgram, names: list[str]) -> None:
        super().__init__()
        self.names, self.program = names, program.module(check_guards=False)

    def forward(self, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.program(**dict(zip(self.names, values))).values())
