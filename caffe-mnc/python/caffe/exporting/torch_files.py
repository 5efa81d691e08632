"""Files that torch itself runs: a state_dict, a program of torch.export, TorchScript."""

from __future__ import annotations

import copy
import runpy
import tempfile
from pathlib import Path
from typing import Any

import torch

from caffe.exporting.code_text import code_of
from caffe.exporting.program import foreign_of, program_of
from caffe.exporting.safetensors_file import write_safetensors
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
    """TorchScript, of the net as plain code: `torch.jit.load` takes it, in C++ too, and needs no
    operators but torch's; a tuple of the outputs.
    """
    code = code_of(module, inputs, form, "net", in_order=True)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "net.py"
        place.write_text(code.text)
        write_safetensors(place.with_suffix(".safetensors"), code.tensors)
        script = torch.jit.script(runpy.run_path(str(place), run_name="net")["Net"]().eval())
    with open(path, "wb") as file:
        torch.jit.save(script, file)
    with open(path, "rb") as written:
        again = torch.jit.load(written)

    def run(given: Tensors) -> dict[str, torch.Tensor]:
        return dict(zip(module.outputs, again(*(given[name] for name in inputs))))
    return Written(run)
