"""Nets as files of other programs, each run there and held against the net before it is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from caffe.engine.errors import CaffeError, LayerError
from caffe.engine.formats.atomic_file import atomic_path
from caffe.engine.layer import TEST
from caffe.engine.net.net import Net
from caffe.exporting import code_file, onnx_file, torch_files  # noqa: F401    register targets
from caffe.exporting.checking import difference, outputs_of, samples
from caffe.exporting.onnx_file import session_of
from caffe.exporting.program import quiet
from caffe.exporting.targets import PLAIN, TARGETS, Form, Run, Tensors, Written

__all__ = ["TARGETS", "Exported", "Form", "difference", "export", "session_of", "write_file"]


@dataclass(frozen=True)
class Exported:
    """What was written: the names in it, and how far its outputs are from the net's.

    difference: the largest of any output, in units of that output's largest value where that
    exceeds 1. foreign: operators in the file that torch has only after `import caffe.ops`. notes:
    what the file does otherwise than the net.
    """

    inputs: list[str]
    outputs: list[str]
    difference: float
    foreign: list[str]
    notes: list[str] = field(default_factory=list)


def export(net: Net, path: str | Path, target: str, *, outputs: Iterable[str] | None = None,
           values: Mapping[str, np.ndarray] | None = None, form: Form = PLAIN) -> Exported:
    """Write `net` (phase TEST), in the sizes its inputs have, as a file of `target`.

    target: "torch" (a state_dict), "torchscript", "pt2" (torch.export), "onnx", "code" (a .py file
    of plain torch). outputs: blobs, as in `net.to_torch`. The file is read again by its own program
    and run on random inputs, of two sizes where form.dynamic says that sizes may differ, or on
    `values`, arrays of the shapes of the inputs. Raises CaffeError, and writes nothing, if a layer
    cannot go there or an output differs from the net's by more than 1e-4 (form.half: 1e-2).
    """
    names = _computed(net, net.outputs) if outputs is None else list(outputs)
    if net.phase != TEST or not names:
        raise CaffeError("export is for nets in phase TEST with outputs: "
                         + (f"this one is in {net.phase}" if names else "this one has none"))
    TARGETS.get(target)
    module = net.to_torch(names).eval()
    shapes = {name: net.blobs[name].shape for name in module.inputs}
    traced, *checked = samples(net, module, form, values)
    try:
        expected = [(each, outputs_of(net, module, each, form)) for each in checked]
    except LayerError as error:
        if values is not None:
            raise
        raise CaffeError(f"{error}; if random inputs are not for it (labels, indices), give an "
                         "array for each input: values=, --values FILE.npz") from error
    for name, shape in shapes.items():
        net.blobs[name].reshape(*shape)
    apart = 0.0

    def check(run: Run) -> None:
        nonlocal apart
        for given, wanted in expected:
            found = run(given)
            apart = max([apart, *(difference(found[name], wanted[name]) for name in names)])
        if not apart <= form.most:
            raise CaffeError(f"the {target} file gives other outputs than the net: they differ by "
                             f"{apart:.3g}, {form.most:g} is allowed; nothing was written to "
                             f"{path}")
    written = write_file(module, path, target, traced, check, form=form)
    notes = [f"{layer.title}: {layer.graph_note}" for layer in module.layers if layer.graph_note]
    return Exported(module.inputs, names, apart, written.foreign, notes)


def write_file(module: Any, path: str | Path, target: str, traced: Tensors,
               check: Callable[[Run], None], *, form: Form = PLAIN) -> Written:
    """Write a module of named inputs and outputs as a file of `target`.

    traced: inputs to follow it on, of the shapes it takes. check: is given the file as its own
    program runs it, and raises an error if it does not compute what it should: then nothing is
    written. Raises CaffeError as `export` does.
    """
    with torch.no_grad(), quiet(), atomic_path(path) as temporary:
        try:
            written = TARGETS.get(target)(module, traced, temporary, form)
            check(written.run)
            written.keep_beside(Path(path))
        except NotImplementedError as error:
            raise CaffeError(f"{target}: {str(error).splitlines()[0]}") from error
        finally:
            for left in temporary.parent.glob(f"{temporary.name}.*"):
                left.unlink()
    return written


def _computed(net: Net, names: Iterable[str]) -> list[str]:
    """The blobs that some layer computes: an input that nobody reads is an output in Caffe."""
    made = {top for node in net.nodes if not node.layer.is_input for top in node.top_names}
    return [name for name in names if name in made]
