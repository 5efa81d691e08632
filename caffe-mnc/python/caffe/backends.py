"""Other runtimes for dense chains of optimised nets: OpenVINO and ONNX Runtime, on the CPU.

`net.optimize(backend=...)` uses them. A chain goes there as ONNX, once, for all sizes that torch
can export it for; sizes beyond those are torch's work.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from caffe.engine.errors import CaffeError
from caffe.engine.layer import TEST
from caffe.engine.net.chains import Chain, Convert, Values
from caffe.engine.net.net import Net
from caffe.engine.net.torch_module import TorchNet
from caffe.engine.optional import need
from caffe.engine.registry import Registry
from caffe.exporting.program import quiet
from caffe.proto import caffe_pb2

OPSET = 18
BACKENDS = Registry("backend", CaffeError)      # name -> class(model, precision): a Runner
CONVERTERS = ("onnx", "onnxscript")


def converts_of(backend: str, precision: torch.dtype | None) -> dict[str, Convert]:
    """How to convert chains for the backend; "auto": for all that are installed.

    Raises CaffeError for an unknown one, ImportError for one that is not installed.
    """
    names = [name for name in BACKENDS.names() if all(map(find_spec, (name, *CONVERTERS)))] \
        if backend == "auto" else [backend]
    for name in names:
        BACKENDS.get(name)
        for package in (name, *CONVERTERS):
            need(package, package=f"mnc-caffe[{name}]", feature=f'backend "{name}"')
    return {name: partial(_convert, name, precision) for name in names}


def _convert(name: str, precision: torch.dtype | None, chain: Chain, values: Values) -> Any:
    with torch.no_grad(), quiet("caffe"):
        return BACKENDS.get(name)(_as_onnx(_module_of(chain, values), values), precision)


def _module_of(chain: Chain, values: Values) -> TorchNet:
    """The chain's layers, with their weights, as a module; values: what it reads, any shapes."""
    param = caffe_pb2.NetParameter(name="chain")
    for i, value in zip(chain.reads, values):
        param.input.append(f"blob{i}")
        param.input_shape.add().dim.extend(value.shape)
    for number, node in enumerate(chain.nodes):
        layer = param.layer.add()
        layer.CopyFrom(node.layer.param)
        for field in ("blobs", "bottom", "top", "include", "exclude", "loss_weight"):
            layer.ClearField(field)
        layer.name = f"{number} {node.layer.name}"
        layer.bottom.extend(f"blob{i}" for i in node.bottom_ids)
        layer.top.extend(f"blob{i}" for i in node.top_ids)
    net = Net.from_proto(param, TEST)
    for number, node in enumerate(chain.nodes):
        copies = net.layer_dict[f"{number} {node.layer.name}"].blobs
        for copy, blob in zip(copies, node.layer.blobs):
            copy.share_data(blob)
    return net.to_torch([f"blob{i}" for i in chain.writes]).eval()


def _as_onnx(module: TorchNet, values: Values) -> bytes:
    """The module as an ONNX model, of any sizes of the axes that torch can leave open."""
    free = tuple({axis: torch.export.Dim.AUTO for axis, size in enumerate(x.shape) if size > 1}
                 for x in values)
    program = torch.export.export(module, tuple(x.float() for x in values), strict=False,
                                  dynamic_shapes={"values": free})
    made = torch.onnx.export(program, dynamo=True, verbose=False, opset_version=OPSET,
                             input_names=[f"in_{name}" for name in module.inputs])
    assert made is not None
    return made.model_proto.SerializeToString()


class _Session:
    """What both runtimes share: `sizes` of the inputs (None: any) and a call on arrays."""

    sizes: list[list[int | None]]
    run: Callable[[list[np.ndarray]], list[np.ndarray]]

    def takes(self, values: Values) -> bool:
        return all(len(size) == x.dim() and all(n in (None, m) for n, m in zip(size, x.shape))
                   for size, x in zip(self.sizes, values))

    def __call__(self, values: Values) -> Values:
        arrays = [np.ascontiguousarray(x.detach().float().numpy()) for x in values]
        return [torch.from_numpy(array) for array in self.run(arrays)]


@BACKENDS.register("openvino")
class OpenVINO(_Session):
    """In float32 or bfloat16."""

    def __init__(self, model: bytes, precision: torch.dtype | None) -> None:
        openvino = importlib.import_module("openvino")      # it has no types
        low = precision == torch.bfloat16
        core = openvino.Core()
        compiled = core.compile_model(core.read_model(io.BytesIO(model)), "CPU", {
            "INFERENCE_PRECISION_HINT": "bf16" if low else "f32",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(), "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY"})
        self.sizes = [[d.get_length() if d.is_static else None
                       for d in each.get_partial_shape()] for each in compiled.inputs]
        request = compiled.create_infer_request()
        count = len(compiled.outputs)

        def run(arrays: list[np.ndarray]) -> list[np.ndarray]:
            found = request.infer(arrays, share_inputs=True)
            return [found[i] for i in range(count)]
        self.run = run


@BACKENDS.register("onnxruntime")
class ONNXRuntime(_Session):
    """In float32. Raises CaffeError for another precision."""

    def __init__(self, model: bytes, precision: torch.dtype | None) -> None:
        import onnxruntime

        if precision is not None:
            raise CaffeError("on the CPU it computes in float32 only")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        inputs = session.get_inputs()
        self.sizes = [[n if isinstance(n, int) else None for n in each.shape] for each in inputs]
        names = [each.name for each in inputs]
        self.run = lambda arrays: session.run(None, dict(zip(names, arrays)))
