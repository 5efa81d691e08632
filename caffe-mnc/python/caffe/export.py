"""Nets as files of other programs, each run there and held against the net before it is kept."""

from __future__ import annotations

import copy
import logging
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from caffe.engine.errors import CaffeError, LayerError
from caffe.engine.formats.atomic_file import atomic_path
from caffe.engine.layer import TEST
from caffe.engine.net.net import Net
from caffe.engine.net.torch_module import TorchNet
from caffe.engine.optional import need
from caffe.engine.registry import Registry

MOST_DIFFERENCE = 1e-4
LARGEST_ONNX = 2 ** 31 - 2 ** 20        # bytes of a protobuf file; its weights and some text
OPSET = 18

Tensors = Mapping[str, torch.Tensor]
Run = Callable[[Tensors], dict[str, torch.Tensor]]
TARGETS = Registry("export target", CaffeError)     # name -> write(module, inputs, path) -> Run


@dataclass(frozen=True)
class Exported:
    """What was written: the names in it, and how far its outputs are from the net's.

    difference: the largest of any output, in units of that output's largest value where that
    exceeds 1. foreign: operators in the file that torch has only after `import caffe`.
    """

    inputs: list[str]
    outputs: list[str]
    difference: float
    foreign: list[str]


def export(net: Net, path: str | Path, target: str, *, outputs: Iterable[str] | None = None,
           values: Mapping[str, np.ndarray] | None = None) -> Exported:
    """Write `net` (phase TEST), in the sizes its inputs have, as a file of `target`.

    target: "torch" (a state_dict), "pt2" (torch.export), "onnx". outputs: blobs, as in
    `net.to_torch`. The file is read again by its own program and run on random inputs, or on
    `values`, arrays of the shapes of the inputs. Raises CaffeError, and writes nothing, if a layer
    cannot go there or an output differs from the net's by more than 1e-4.
    """
    write = TARGETS.get(target)
    names = _computed(net, net.outputs) if outputs is None else list(outputs)
    if net.phase != TEST or not names:
        raise CaffeError("export is for nets in phase TEST with outputs: "
                         + (f"this one is in {net.phase}" if names else "this one has none"))
    module = net.to_torch(names).eval()
    traced, checked = (_inputs(net, module, values, seed) for seed in (1, 2))
    with torch.no_grad(), _quiet(), atomic_path(path) as temporary:
        run = write(module, traced, temporary)
        found = run(checked)
        for name, value in checked.items():
            net.blobs[name].data[...] = value.numpy()
        expected = net.forward(names)
        apart = max((difference(found[name], expected[name]) for name in names), default=0.0)
        if not apart <= MOST_DIFFERENCE:
            raise CaffeError(f"the {target} file gives other outputs than the net: they differ by "
                             f"{apart:.3g}, {MOST_DIFFERENCE:g} is allowed; nothing was "
                             f"written to {path}")
    return Exported(module.inputs, names, apart, getattr(run, "foreign", []))


def _computed(net: Net, names: Iterable[str]) -> list[str]:
    """The blobs that some layer computes: an input that nobody reads is an output in Caffe."""
    made = {top for node in net.nodes if not node.layer.is_input for top in node.top_names}
    return [name for name in names if name in made]


def _inputs(net: Net, module: TorchNet, values: Mapping[str, np.ndarray] | None,
            seed: int) -> dict[str, torch.Tensor]:
    random = np.random.default_rng(seed)
    found = {}
    for name in module.inputs:
        shape = net.blobs[name].shape
        array = random.normal(size=shape) if values is None else values.get(name)
        if array is None or np.shape(array) != shape:
            raise CaffeError(f'values must hold an array of shape {shape} for input "{name}", got '
                             f"{'none' if array is None else np.shape(array)}")
        found[name] = torch.as_tensor(np.array(array), dtype=net.dtype, device=net.device)
    return found


def difference(found: torch.Tensor, expected: np.ndarray) -> float:
    """The largest, in units of the largest finite value expected where that exceeds 1; infinite
    where shapes differ, or one alone is infinite or no number. Arrays of any shape.
    """
    got = found.detach().cpu().numpy()
    finite = np.isfinite(expected)
    if got.shape != expected.shape or not np.array_equal(got[~finite], expected[~finite],
                                                         equal_nan=True):
        return np.inf
    apart = np.abs(got[finite] - expected[finite]).max(initial=0)
    apart = np.inf if np.isnan(apart) else apart
    return float(apart / np.abs(expected[finite]).max(initial=1))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch's exporters say of their own insides."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnx_ir", "onnxscript")]
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


# --- targets --------------------------------------------------------------------------------------

@TARGETS.register("torch")
def write_state_dict(module: TorchNet, inputs: Tensors, path: Path) -> Run:
    """The weights alone, as torch.save writes a state_dict; `net.to_torch()` loads them."""
    torch.save(module.state_dict(), path)
    again = copy.deepcopy(module)
    for values in again.state_dict().values():
        values.zero_()
    again.load_state_dict(torch.load(path, weights_only=True))
    return lambda given: again(**given)


@TARGETS.register("pt2")
def write_program(module: TorchNet, inputs: Tensors, path: Path) -> Run:
    """The graph and the weights, as torch.export.save writes them; torch alone runs them."""
    program = _program(module, inputs)
    with open(path, "wb") as file:
        torch.export.save(program, file)
    with open(path, "rb") as written:
        again = torch.export.load(written).module()

    def run(given: Tensors) -> dict[str, torch.Tensor]:
        return again(**given)
    run.foreign = sorted(_foreign(program))      # type: ignore[attr-defined]
    return run


@TARGETS.register("onnx")
def write_onnx(module: TorchNet, inputs: Tensors, path: Path) -> Run:
    """ONNX of opset 18, standard operators only; run by onnxruntime.

    Raises CaffeError for layers that ONNX's operators cannot say, and for more than 2 GB.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        need(package, package="mnc-caffe[export]", feature="export to ONNX")
    import onnxruntime

    if sum(p.numel() * p.element_size() for p in module.state_dict().values()) > LARGEST_ONNX:
        raise CaffeError("the weights exceed the 2 GB that an ONNX file can hold")
    program = _program(module, inputs)
    computed = [f"{name}_out" if name in module.inputs else name for name in module.outputs]
    translated: dict[Callable, Callable] = {torch.ops.caffe.roi_pooling.default: _max_roi_pool}
    for operator, layers in _foreign(program).items():
        if operator != "caffe::roi_pooling":
            raise CaffeError(f"{layers}: ONNX has no operator for {operator}")
    try:
        made = torch.onnx.export(program, (), kwargs=dict(inputs), dynamo=True, verbose=False,
                                 input_names=module.inputs, output_names=computed,
                                 opset_version=OPSET, custom_translation_table=translated)
    except torch.onnx.errors.OnnxExporterError as error:
        raise CaffeError(_unsayable(program, error)) from error
    assert made is not None
    made.save(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(str(path), options,
                                               providers=["CPUExecutionProvider"])
    except Exception as error:      # it has no class of errors of its own
        raise CaffeError(f"onnxruntime refuses the file: {str(error).splitlines()[0]}") from error
    read = [each.name for each in session.get_inputs()]

    def run(given: Tensors) -> dict[str, torch.Tensor]:
        arrays = session.run(None, {name: given[name].cpu().numpy() for name in read})
        return dict(zip(module.outputs, map(torch.from_numpy, arrays)))
    return run


def _max_roi_pool(features: Any, rois: Any, pooled_h: int, pooled_w: int,
                  spatial_scale: float) -> tuple[Any, Any]:
    """caffe::roi_pooling in ONNX; the places of the maxima, which only backward reads, are none."""
    from onnxscript import opset18

    values = opset18.MaxRoiPool(features, rois, pooled_shape=[pooled_h, pooled_w],
                                spatial_scale=spatial_scale)
    return values, opset18.Cast(values, to=6)       # int32


def _program(module: TorchNet, inputs: Tensors) -> torch.export.ExportedProgram:
    try:
        return torch.export.export(module, (), dict(inputs), strict=False)
    except LayerError as error:
        raise CaffeError(f"{str(error).splitlines()[0][:300]} (torch.export cannot follow what "
                         f"depends on values)") from error


def _foreign(program: torch.export.ExportedProgram) -> dict[str, str]:
    """Operators of ours in a graph -> the layers they are of."""
    return _layers_of(program, lambda operator: operator.startswith("caffe::"))


def _layers_of(program: torch.export.ExportedProgram,
               chosen: Callable[[str], bool]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for node in program.graph.nodes:
        name: Any = getattr(node.target, "name", None)
        operator = name() if node.op == "call_function" and callable(name) else ""
        if operator and chosen(operator):
            stack = [path for path, _ in node.meta.get("nn_module_stack", {}).values() if path]
            found.setdefault(operator, []).extend(stack[-1:])
    return {operator: "layer " + ", ".join(f'"{name}"' for name in dict.fromkeys(layers))
            for operator, layers in found.items()}


def _unsayable(program: torch.export.ExportedProgram, error: BaseException) -> str:
    """Which layer's operator the exporter has no translation for."""
    text, cause = str(error), error.__cause__
    while cause is not None:
        text, cause = f"{text} {cause}", cause.__cause__
    missing = re.search(r"op='(\w+)\.(\w+)", text)
    if missing is None:
        return f"ONNX: {str(error).splitlines()[0]}"
    operator = f"{missing[1]}::{missing[2]}"
    layers = _layers_of(program, lambda name: name.partition(".")[0] == operator)
    return f"{', '.join(layers.values()) or 'a layer'}: ONNX has no operator for {operator}"
