"""Nets: built from a prototxt, run forward and backward, loaded and saved. Caffe's `Net`."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch

from caffe.engine.errors import CaffeError, in_file
from caffe.engine.formats import weights as weight_files
from caffe.engine.formats.prototxt import label_of, read_net
from caffe.engine.layer import TEST, TRAIN, product_dtype
from caffe.engine.net import arrays, debug_info, page
from caffe.engine.net.build import Node, annotate, noted
from caffe.engine.net.calibration import Inputs, Watched, check_calibration
from caffe.engine.net.graph import Graph, arguments
from caffe.engine.net.parameters import share
from caffe.engine.net.plan import Optimized
from caffe.engine.net.recording import Recording
from caffe.engine.net.summary import table
from caffe.engine.net.torch_module import TorchNet
from caffe.engine.rounding import Rounding, round_products


class Net(Graph):
    """A net of layers, in the forms pycaffe knows:

    Net(file, phase, level=0, stages=None, weights=None) and the older Net(file, weights, phase).
    `dtype='float64'` builds it in double precision, for gradient checks of whole nets.

    `blobs` and `params` are OrderedDicts by blob and layer name; `layers` holds the layer objects
    (a Python layer is the user's own object), `nodes` the same with their blobs, one a layer;
    `inputs` and `outputs` are names of blobs.
    Raises PrototxtError, LayerError, WeightsError.
    """

    def __init__(self, network_file: str, *args: Any, **options: Any) -> None:
        given = arguments(network_file, args, options)
        param = read_net(str(network_file))
        with in_file(label_of(network_file)):
            self._prepare(param, given["phase"], given["level"], given["stages"], given["dtype"])
        if given["weights"] is not None:
            self.copy_from(given["weights"])

    @classmethod
    def from_proto(cls, param: Any, phase: int, level: int = 0,
                   stages: Iterable[str] | None = None, dtype: str = "float32") -> Net:
        """A net from a NetParameter message instead of a file."""
        net = cls.__new__(cls)
        net._prepare(param, phase, level, stages, dtype)
        return net

    def _prepare(self, param: Any, phase: int, level: int, stages: Iterable[str] | None,
                 dtype: str) -> None:
        self._build(param, phase, level, stages, dtype)
        self._callbacks: dict[str, list[Callable[[int], None]]] = defaultdict(list)
        self._recording = Recording(self.nodes, always=self.phase == TRAIN)
        self._optimized: Optimized | None = None
        self._rounding: Rounding | None = None

    # --- running ----------------------------------------------------------------------------

    def reshape(self) -> None:
        """Carry new shapes of the inputs through all layers."""
        for node in self.nodes:
            with noted(node.layer):
                node.layer.reshape(node.bottom, node.top)
            _weigh(node)

    def forward(self, blobs: list[str] | None = None, start: str | None = None,
                end: str | None = None, **inputs: np.ndarray) -> OrderedDict[str, np.ndarray]:
        """Run layers `start` to `end`; returns the data of the outputs (or of `end`'s tops and of
        the blob called like it) and of `blobs`. Keyword arguments fill the input blobs, all of
        them; their first axis must match.
        """
        if inputs:
            arrays.fill(self, inputs, self.inputs, "input")
        self._forward(0 if start is None else self._position(start),
                      len(self.nodes) - 1 if end is None else self._position(end))
        names = self.outputs if end is None else \
            [n for n in (*self.top_names[end], end) if n in self.blobs]
        return OrderedDict((n, self._blob(n).data) for n in dict.fromkeys([*names, *(blobs or [])]))

    def backward(self, diffs: list[str] | None = None, start: str | None = None,
                 end: str | None = None, **outputs: np.ndarray) -> OrderedDict[str, np.ndarray]:
        """Run backward from layer `start` down to `end`; returns the diffs of the inputs (or of
        `end`'s bottoms) and of `diffs`. Keyword arguments fill the diffs of the output blobs (or
        of `start`'s tops), all of them.
        """
        if outputs:
            names = self.top_names[start] if start is not None else self.outputs
            arrays.fill(self, outputs, names, "output", "diff")
        self._backward(len(self.nodes) - 1 if start is None else self._position(start),
                       0 if end is None else self._position(end))
        names = self.bottom_names[end] if end is not None else self.inputs
        return OrderedDict((n, self._blob(n).diff) for n in dict.fromkeys([*names, *(diffs or [])]))

    def optimize(self, outputs: Iterable[str] | None = None, precision: str | None = None,
                 backend: str = "torch", calibrate: Inputs | None = None) -> None:
        """From now on run forward for the blobs `outputs` (default: the net's outputs) alone.

        Same values there within rounding, in less time and memory: layers that do not lead to
        them are left out, neighbours are joined, no other blob is kept (reading one is an error),
        and there is no backward and no forward of a part. For TEST nets. Weights are packed for the
        kernels (BatchNorm and Scale folded in) as they are at the next forward: call it again after
        changing some by hand. precision "bfloat16" computes convolutions and matrix products in
        that. Weights are in memory once: the net's own are unpacked when somebody reads them, by
        then rounded to the precision. A ReLU that a kernel does as it writes makes 0 of NaN.

        backend: "torch"; "openvino" or "onnxruntime" for the large chains between region and Python
        layers, where its results at the first forward agree with torch's; "auto" for the fastest
        of those installed, measured at that forward. What fails there is one line of the log, and
        torch does it. Blobs inside such a chain keep the shapes of that forward.

        precision "int8" (on the CPU): products of 8-bit numbers, where that costs little.
        calibrate: inputs such as the net will see, some 8 to 32: {"data": array} with an array for
        each input blob, {} where data layers read them. They run now, once, in float32, to find how
        far values reach. After a change of weights call it again.

        Raises CaffeError for nets in phase TRAIN, for an unknown precision or backend, for "int8"
        without inputs or with a backend, ImportError for a backend that is not installed.
        """
        if self.phase != TEST:
            raise CaffeError("net.optimize() is for nets in phase TEST; training needs every blob")
        names = list(self.outputs if outputs is None else outputs)
        for name in names:
            self._blob(name)
        check_calibration(precision, backend, calibrate)
        optimized = Optimized(precision, backend) if calibrate is None else None
        self._show_outputs(names)
        self._optimized = optimized or self._calibrated(calibrate or ())

    def _calibrated(self, inputs: Inputs) -> Optimized:
        watched = Watched(self)
        before, self._optimized = self._optimized, watched
        try:
            return watched.after(inputs)
        finally:
            self._optimized = before

    def set_precision(self, precision: str | None) -> None:
        """Compute convolutions and matrix products of forward and backward in this from now on.

        "bfloat16": their factors, gradients among them, are rounded to it; weights, what is between
        layers, losses and updates stay in the net's own precision. None: in that, too. Optimised
        nets have theirs from `optimize`.

        Raises CaffeError for another.
        """
        self._rounding = round_products(self.nodes, product_dtype(precision))

    def to_torch(self, outputs: Iterable[str] | None = None) -> TorchNet:
        """A torch.nn.Module that computes the blobs `outputs` (default: the net's outputs) from
        copies of the weights, without this net: see `TorchNet`.

        Raises CaffeError, before anything is made, for layers that are no functions of tensors.
        """
        return TorchNet(self, outputs)

    def forward_all(self, blobs: list[str] | None = None,
                    **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """`forward` over any number of items, in batches; copies of outputs and `blobs`, joined."""
        return arrays.forward_all(self, blobs, inputs)

    def forward_backward_all(self, blobs: list[str] | None = None, diffs: list[str] | None = None,
                             **given: np.ndarray) -> tuple[dict[str, np.ndarray], ...]:
        """`forward` and `backward` over any number of items: (outputs and `blobs`, diffs of inputs
        and `diffs`). Arrays are data of inputs and diffs of outputs.
        """
        return arrays.forward_backward_all(self, blobs, diffs, given)

    def _batch(self, blobs: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        """Slices of the net's batch size, the last filled up with zeros."""
        return arrays.batches(self, blobs)

    def set_input_arrays(self, data: np.ndarray, labels: np.ndarray) -> None:
        """Let the MemoryData layer at the start read from data (N, K, H, W) and labels (N,)."""
        if labels.ndim == 1:
            labels = np.ascontiguousarray(labels[:, None, None, None])
        self._set_input_arrays(data, labels)

    def _set_input_arrays(self, data: np.ndarray, labels: np.ndarray) -> None:
        arrays.set_input_arrays(self, data, labels)

    def before_forward(self, function: Callable[[int], None]) -> None:
        """Call `function(layer number)` before each layer runs forward."""
        self._callbacks["before_forward"].append(function)

    def after_forward(self, function: Callable[[int], None]) -> None:
        """Call `function(layer number)` after each layer ran forward."""
        self._callbacks["after_forward"].append(function)

    def before_backward(self, function: Callable[[int], None]) -> None:
        """Call `function(layer number)` before each layer's turn in backward."""
        self._callbacks["before_backward"].append(function)

    def after_backward(self, function: Callable[[int], None]) -> None:
        """Call `function(layer number)` after each layer's turn in backward."""
        self._callbacks["after_backward"].append(function)

    def _call(self, event: str, layer: int) -> None:
        """Call what was given to `before_forward`, ... (the event) with the number of a layer."""
        for function in self._callbacks.get(event, ()):
            function(layer)

    def run(self, first: int = 0, last: int | None = None) -> float:
        """Run layers number first..last (the end) forward; returns the weighted loss of their tops.

        Raises IndexError if the net has no such layers, CaffeError if it was optimised for a run
        of the whole.
        """
        return self._forward(first, len(self.nodes) - 1 if last is None else last)

    def run_backward(self, first: int | None = None, last: int = 0) -> None:
        """Run layers number first (the end) down to last backward, those that are to have one.

        Raises IndexError if the net has no such layers, CaffeError if it was optimised.
        """
        self._backward(len(self.nodes) - 1 if first is None else first, last)

    # pycaffe's names do the work: a class of a user's may have a `run` of its own

    def _forward(self, first: int, last: int) -> float:
        self._check_range(first, last)
        if self._optimized is not None:
            self._optimized.run(self, first, last, self._call if self._callbacks else None)
        else:
            with self._rounding or nullcontext():
                self._run_each(first, last)
        terms = [weight * blob.tensor.sum() for node in self.nodes[first:last + 1] if node.is_loss
                 for blob, weight in zip(node.top, node.loss_weights) if weight]
        return float(torch.stack(terms).sum()) if terms else 0.0

    def _run_each(self, first: int, last: int) -> None:
        before = self._recording.start_forward(first, last)
        for i in range(first, last + 1):
            if self._callbacks:
                self._call("before_forward", i)
            self._forward_layer(i, before)
            if self.debug_info:
                debug_info.log_forward(self.nodes[i])
            if self._callbacks:
                self._call("after_forward", i)

    def _forward_layer(self, i: int, before: Callable[[int], None]) -> None:
        node = self.nodes[i]
        before(i)
        layer = node.layer
        try:
            if not layer.shapes_by_running:
                layer.reshape(node.bottom, node.top)
            layer.forward(node.bottom, node.top)
        except BaseException as error:
            annotate(layer, error)
            raise
        if node.is_loss:
            _weigh(node)

    def _backward(self, first: int, last: int) -> None:
        self._check_range(last, first)
        if self._optimized is not None:
            raise CaffeError("a net that was optimised keeps nothing for backward(); build it "
                             "again without net.optimize()")
        self._recording.ensure(self._forward_layer)
        for i in range(first, last - 1, -1):
            if self._callbacks:
                self._call("before_backward", i)
            if self.nodes[i].need_backward:
                self._backward_layer(i)
                if self.debug_info:
                    debug_info.log_backward(self.nodes[i])
            if self._callbacks:
                self._call("after_backward", i)

    def _backward_layer(self, i: int) -> None:
        node = self.nodes[i]
        try:
            self._recording.follow_edits(i)
            node.layer.backward(node.top, node.layer.bottom_needs_gradient, node.bottom)
        except BaseException as error:
            annotate(node.layer, error)
            raise

    def forward_backward(self) -> float:
        """One forward and one backward pass; returns the weighted loss."""
        loss = self._forward(0, len(self.nodes) - 1)
        self._backward(len(self.nodes) - 1, 0)
        if self.debug_info:
            debug_info.log_norms(self)
        return loss

    def _repr_html_(self) -> str:
        """The graph of the net, in notebooks."""
        return page.in_notebook(self)

    def __str__(self) -> str:
        """A table of the layers: shapes of tops, parameters, multiply-adds, memory."""
        return table(self)

    # --- weights ----------------------------------------------------------------------------

    def copy_from(self, path: str, required: bool = False, *, partly: bool = False) -> None:
        """Load weights by layer name from a .caffemodel or HDF5 file (told by content).

        Raises WeightsError if the file is damaged, does not fit, or holds no layers. If nothing
        in it is for this net: a warning; if that is `required`, WeightsError. With `partly`
        layers that do not fit stay as they are, and one warning names them.
        """
        weight_files.load(self, str(path), required=required, partly=partly)
        self._forget_plan()

    def save(self, path: str) -> None:
        """Write the weights as a .caffemodel."""
        weight_files.save_caffemodel(self, str(path))

    def save_hdf5(self, path: str, write_diff: bool = False) -> None:
        """Write the weights (and diffs) as HDF5."""
        weight_files.save_hdf5(self, str(path), write_diff)

    save_to_hdf5 = save_hdf5        # the MNC fork's name
    load_hdf5 = copy_from

    def to_proto(self, write_diff: bool = False) -> Any:
        """The net as a NetParameter with its weights, as Caffe writes it."""
        return weight_files.to_proto(self, write_diff)

    def share_with(self, other: Net) -> None:
        """Use the parameters of `other` for layers of the same name: one memory.

        Raises CaffeError if such layers have not the same numbers and shapes of them.
        """
        share(self.layers, other.params)
        self._forget_plan()

    def _forget_plan(self) -> None:
        """The plan of an optimised net holds products of weights: they have changed."""
        if self._optimized is not None:
            self._optimized.forget()


def _weigh(node: Node) -> None:
    """A top of the loss has its weight for a gradient, also when a new size dropped that."""
    for blob, weight in zip(node.top, node.loss_weights):
        if weight and not blob.has_diff:
            blob.diff_tensor.fill_(weight)
