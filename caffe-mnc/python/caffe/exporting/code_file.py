"""A net as a .py file of plain torch, beside a .safetensors with its weights."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from caffe.engine.errors import CaffeError
from caffe.exporting.code_text import code_of
from caffe.exporting.safetensors_file import write_safetensors
from caffe.exporting.targets import TARGETS, Form, Tensors, Written

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
    code = code_of(module, inputs, form, path.name.lstrip(".").partition(".")[0])
    path.write_text(code.text)
    weights = path.with_name(f"{path.name}.safetensors")
    write_safetensors(weights, code.tensors)
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
