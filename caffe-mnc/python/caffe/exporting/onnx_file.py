"""ONNX files: standard operators alone, run by onnxruntime."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from caffe.engine.errors import CaffeError
from caffe.engine.optional import need
from caffe.exporting.program import foreign_of, layers_of, program_of
from caffe.exporting.targets import TARGETS, Form, Tensors, Written

LARGEST_ONNX = 2 ** 31 - 2 ** 20        # bytes of a protobuf file; its weights and some text
OPSET = 18
LEAST_SCORE = float(torch.finfo(torch.float32).min)
INT32, INT64, FLOAT = 6, 7, 1           # of TensorProto


@TARGETS.register("onnx")
def write_onnx(module: Any, inputs: Tensors, path: Path, form: Form) -> Written:
    """ONNX of opset 18, standard operators only; run by onnxruntime.

    Raises CaffeError for layers that ONNX's operators cannot say, and for more than 2 GB.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        need(package, package="mnc-caffe[export]", feature="export to ONNX")
    if sum(p.numel() * p.element_size() for p in module.state_dict().values()) > LARGEST_ONNX:
        raise CaffeError("the weights exceed the 2 GB that an ONNX file can hold")
    program = program_of(module, inputs, form)
    made = _translated(program, module, inputs)
    made.model.metadata_props.update(form.about)
    made.save(path)
    session = session_of(path)
    read = [each.name for each in session.get_inputs()]

    def run(given: Tensors) -> dict[str, torch.Tensor]:
        arrays = session.run(None, {name: given[name].cpu().numpy() for name in read})
        return dict(zip(module.outputs, map(torch.from_numpy, arrays)))
    return Written(run)


def session_of(path: str | Path) -> Any:
    """An onnxruntime.InferenceSession of the file, on the CPU.

    Raises CaffeError if onnxruntime does not take it.
    """
    need("onnxruntime", package="mnc-caffe[export]", feature="running ONNX")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options,
                                            providers=["CPUExecutionProvider"])
    except Exception as error:      # it has no class of errors of its own
        raise CaffeError(f"onnxruntime refuses the file {path}: {str(error).splitlines()[0]}") \
            from error


def _translated(program: torch.export.ExportedProgram, module: Any, inputs: Tensors) -> Any:
    computed = [f"{name}_out" if name in module.inputs else name for name in module.outputs]
    table = translations()
    known = {str(operator).replace(".default", "").replace(".", "::", 1) for operator in table}
    for operator, layers in foreign_of(program).items():
        if operator not in known:
            raise CaffeError(f"{layers}: ONNX has no operator for {operator}")
    try:
        made = torch.onnx.export(program, (), kwargs=dict(inputs), dynamo=True, verbose=False,
                                 input_names=list(module.inputs), output_names=computed,
                                 opset_version=OPSET, custom_translation_table=table)
    except torch.onnx.errors.OnnxExporterError as error:
        raise CaffeError(_unsayable(program, error)) from error
    assert made is not None
    return made


# --- operators that torch's exporter does not translate, in ONNX's -------------------------------

def translations() -> dict[Callable, Callable]:
    """Operators -> functions that say them in ONNX."""
    return {torch.ops.caffe.roi_pooling.default: _max_roi_pool,
            torch.ops.caffe.nms_of_lists.default: _non_max_suppression,
            torch.ops.aten.sort.stable: _sort}


def _operators() -> Any:
    from onnxscript import opset18

    return opset18


def _max_roi_pool(features: Any, rois: Any, pooled_h: int, pooled_w: int,
                  spatial_scale: float) -> tuple[Any, Any]:
    """caffe::roi_pooling in ONNX; the places of the maxima, which only backward reads, are none."""
    opset18 = _operators()
    values = opset18.MaxRoiPool(features, rois, pooled_shape=[pooled_h, pooled_w],
                                spatial_scale=spatial_scale)
    return values, opset18.Cast(values, to=INT32)


def _non_max_suppression(boxes: Any, scores: Any, thresh: float, inclusive: bool,
                         limit: int) -> Any:
    """caffe::nms_of_lists: boxes (B, N, 4), scores (B, N) -> (T, 2) list, row.

    ONNX drops what is above the threshold: at it, too, if the threshold is the number before.
    """
    opset18 = _operators()
    if inclusive:
        thresh = float(torch.nextafter(torch.tensor(thresh), torch.tensor(-math.inf)))
    if not 0 <= thresh <= 1:
        raise CaffeError(f"ONNX suppresses from overlaps of 0 to 1 on, not from {thresh:g}")
    found = opset18.NonMaxSuppression(
        opset18.Cast(boxes, to=FLOAT),
        opset18.Unsqueeze(opset18.Cast(scores, to=FLOAT), opset18.Constant(value_ints=[1])),
        opset18.Constant(value_ints=[limit or 2 ** 31 - 1]),
        opset18.Constant(value_floats=[thresh]), opset18.Constant(value_floats=[LEAST_SCORE]))
    return opset18.Gather(found, opset18.Constant(value_ints=[0, 2]), axis=1)


def _sort(self: Any, stable: bool = True, dim: int = -1, descending: bool = False) -> Any:
    """aten::sort.stable: of equal values TopK, too, gives the one of the lower index first."""
    opset18 = _operators()
    count = opset18.Gather(opset18.Shape(self), opset18.Constant(value_ints=[dim]))
    return opset18.TopK(self, count, axis=dim, largest=1 if descending else 0, sorted=1)


def _unsayable(program: torch.export.ExportedProgram, error: BaseException) -> str:
    """Which layer's operator the exporter has no translation for."""
    text, cause = str(error), error.__cause__
    while cause is not None:
        text, cause = f"{text} {cause}", cause.__cause__
    missing = re.search(r"op='(\w+)\.(\w+)", text)
    if missing is None:
        return f"ONNX: {str(error).splitlines()[0]}"
    operator = f"{missing[1]}::{missing[2]}"
    layers = layers_of(program, lambda name: name.partition(".")[0] == operator)
    return f"{', '.join(layers.values()) or 'a layer'}: ONNX has no operator for {operator}"
