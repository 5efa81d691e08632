"""Nets: built from a prototxt, run forward and backward, loaded and saved. Caffe's `Net`."""

from __future__ import annotations

import math
import os
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch

from caffe.engine import log
from caffe.engine.blob import Blob
from caffe.engine.device import current_device
from caffe.engine.errors import CaffeError, in_file
from caffe.engine.formats import weights as weight_files
from caffe.engine.formats.prototxt import label_of, read_net
from caffe.engine.formats.upgrade import upgrade
from caffe.engine.layer import TEST, TRAIN, Layer, Phase
from caffe.engine.net import batching, debug_info
from caffe.engine.net.build import (
    Node,
    connect,
    filter_by_state,
    insert_splits,
    make_layer,
    mark_backward,
    noted,
)
from caffe.engine.net.parameters import Parameters
from caffe.engine.net.plan import Plan
from caffe.engine.net.recording import Recording
from caffe.engine.registry import nearest
from caffe.proto import caffe_pb2

DTYPES = {"float32": torch.float32, "float64": torch.float64}


class Net:
    """A net of layers, in the forms pycaffe knows:

    Net(file, phase, level=0, stages=None, weights=None) and the older Net(file, weights, phase).
    `dtype='float64'` builds it in double precision, for gradient checks of whole nets.

    `blobs` and `params` are OrderedDicts by blob and layer name; `layers` holds the layer objects
    (a Python layer is the user's own object); `inputs` and `outputs` are names of blobs.
    Raises PrototxtError, LayerError, WeightsError.
    """

    def __init__(self, network_file: str, *args: Any, **options: Any) -> None:
        given = _arguments(network_file, args, options)
        param = read_net(str(network_file))
        with in_file(label_of(network_file)):
            self._build(param, given["phase"], given["level"], given["stages"], given["dtype"])
        if given["weights"] is not None:
            self.copy_from(given["weights"])

    @classmethod
    def from_proto(cls, param: Any, phase: int, level: int = 0,
                   stages: Iterable[str] | None = None, dtype: str = "float32") -> Net:
        """A net from a NetParameter message instead of a file."""
        net = cls.__new__(cls)
        net._build(param, phase, level, stages, dtype)
        return net

    # --- building ---------------------------------------------------------------------------

    def _build(self, param: Any, phase: int, level: int, stages: Iterable[str] | None,
               dtype: str) -> None:
        if dtype not in DTYPES:
            raise CaffeError(f"dtype {dtype!r}: a net can be {' or '.join(DTYPES)}")
        self.phase, self.dtype, self.device = Phase(phase), DTYPES[dtype], current_device()
        state = caffe_pb2.NetState()
        state.CopyFrom(param.state)
        state.phase = int(phase)
        if level:
            state.level = level
        state.stage.extend(stages or [])
        self.proto = insert_splits(filter_by_state(upgrade(param), state))
        self.proto.state.CopyFrom(state)
        self.name = self.proto.name
        self.debug_info = param.debug_info      # log mean absolute values of all blobs
        self._callbacks: dict[str, list[Callable[[int], None]]] = defaultdict(list)
        self.parameters = Parameters()
        self._nodes, self._blob_names, self._blobs = connect(
            self.proto, self._make_layer, self._make_blob, self.parameters.add_layer)
        mark_backward(self._nodes, param.force_backward, self.parameters.learns)
        self._recording = Recording(self._nodes, always=self.phase == TRAIN)
        self._plan: Plan | None = None
        self._optimized_for: list[str] | None = None
        self._plan_precision: torch.dtype | None = None
        self._index()
        log.info('Network "%s" initialized: %d layers, %d blobs', self.name, len(self._nodes),
                 len(self._blobs))

    def _make_layer(self, layer_param: Any) -> Layer:
        phase = layer_param.phase if layer_param.HasField("phase") else self.phase
        return make_layer(layer_param, phase, self.dtype, self.device)

    def _make_blob(self) -> Blob:
        return Blob((), self.dtype, self.device)

    def _index(self) -> None:
        """The dictionaries and lists by which users find layers and blobs."""
        named = [(n, b) for n, b in zip(self._blob_names, self._blobs) if n != "(automatic)"]
        self.layers = [node.layer for node in self._nodes]
        self._layer_names = [layer.name for layer in self.layers]
        self.layer_dict = OrderedDict(zip(self._layer_names, self.layers))
        self.blobs = OrderedDict(named)
        self.params = OrderedDict((y.name, y.blobs) for y in self.layers if len(y.blobs))
        self.bottom_names = OrderedDict((node.layer.name, self._names(node.bottom_ids))
                                        for node in self._nodes)
        self.top_names = OrderedDict((node.layer.name, self._names(node.top_ids))
                                     for node in self._nodes)
        self._inputs = [i for node in self._nodes if node.layer.type == "Input"
                        for i in node.top_ids]
        self.inputs = self._names(self._inputs)
        self.outputs = self._find_outputs()
        self._outputs = [self._blob_names.index(name) for name in self.outputs]
        weights = dict.fromkeys(range(len(self._blobs)), 0.0)
        for node in self._nodes:
            weights.update(zip(node.top_ids, node.loss_weights))
        self._blob_loss_weights = [weights[i] for i in range(len(self._blobs))]
        self.blob_loss_weights = OrderedDict(
            (n, w) for n, w in zip(self._blob_names, self._blob_loss_weights)
            if n != "(automatic)")

    def _bottom_ids(self, i: int) -> list[int]:
        """Places in `_blobs` of the bottoms of layer `i`."""
        return self._nodes[i].bottom_ids

    def _top_ids(self, i: int) -> list[int]:
        """Places in `_blobs` of the tops of layer `i`."""
        return self._nodes[i].top_ids

    def _names(self, ids: Iterable[int]) -> list[str]:
        return [self._blob_names[i] for i in ids]

    def _find_outputs(self) -> list[str]:
        """Blobs nobody consumes, in Caffe's order: by name."""
        loose: set[int] = set()
        for node in self._nodes:
            loose.difference_update(node.bottom_ids)
            loose.update(node.top_ids)
        return sorted(n for n in self._names(loose) if n != "(automatic)")

    # --- parameters -------------------------------------------------------------------------

    @property
    def learnable_params(self) -> list[Blob]:
        """Each parameter once: those that share one are left out."""
        return self.parameters.blobs

    @property
    def params_lr(self) -> list[float]:
        return self.parameters.lr_mult

    @property
    def params_weight_decay(self) -> list[float]:
        return self.parameters.decay_mult

    def param_id(self, layer: int, index: int) -> tuple[int, int]:
        """(layer, index) of the owner of a parameter; itself if it is not shared."""
        return self.parameters.owner[layer, index]

    def clear_param_diffs(self) -> None:
        for blob in self.learnable_params:
            blob.clear_diff()

    # --- running ----------------------------------------------------------------------------

    def reshape(self) -> None:
        """Carry new shapes of the inputs through all layers."""
        for node in self._nodes:
            with noted(node.layer):
                node.layer.reshape(node.bottom, node.top)
            _weigh(node)

    def forward(self, blobs: list[str] | None = None, start: str | None = None,
                end: str | None = None, **inputs: np.ndarray) -> OrderedDict[str, np.ndarray]:
        """Run layers `start` to `end`; returns the data of the outputs (or of `end`'s tops and of
        the blob called like it) and of `blobs`. Keyword arguments fill the input blobs, all of
        them; their first axis must match.
        """
        first = self._position(start) if start is not None else 0
        last = self._position(end) if end is not None else len(self._nodes) - 1
        if inputs:
            self._fill(inputs, self.inputs, "input", "data")
        self._forward(first, last)
        names = self.outputs if end is None else \
            [n for n in (*self.top_names[end], end) if n in self.blobs]
        return OrderedDict((n, self._blob(n).data) for n in dict.fromkeys([*names, *(blobs or [])]))

    def backward(self, diffs: list[str] | None = None, start: str | None = None,
                 end: str | None = None, **outputs: np.ndarray) -> OrderedDict[str, np.ndarray]:
        """Run backward from layer `start` down to `end`; returns the diffs of the inputs (or of
        `end`'s bottoms) and of `diffs`. Keyword arguments fill the diffs of the output blobs (or
        of `start`'s tops), all of them.
        """
        first = self._position(start) if start is not None else len(self._nodes) - 1
        last = self._position(end) if end is not None else 0
        if outputs:
            names = self.top_names[start] if start is not None else self.outputs
            self._fill(outputs, names, "output", "diff")
        self._backward(first, last)
        names = self.bottom_names[end] if end is not None else self.inputs
        return OrderedDict((n, self._blob(n).diff) for n in dict.fromkeys([*names, *(diffs or [])]))

    def optimize(self, outputs: Iterable[str] | None = None,
                 precision: str | None = None) -> None:
        """From now on run forward for the blobs `outputs` (default: the net's outputs) alone.

        Same values there within rounding, in less time and memory: layers that do not lead to
        them are left out, neighbours are joined, no other blob is kept (reading one is an error),
        and there is no backward and no forward of a part. For TEST nets. BatchNorm and Scale are
        folded with the weights as they are at the next forward: call it again after changing
        those by hand. precision "bfloat16" computes convolutions and matrix products in that, with
        all their weights as at the next forward.
        """
        if self.phase != TEST:
            raise CaffeError("net.optimize() is for nets in phase TEST; training needs every blob")
        names = list(self.outputs if outputs is None else outputs)
        for name in names:
            self._blob(name)
        if precision not in (None, "bfloat16"):
            raise CaffeError(f'precision {precision!r}: a net is optimised in its own, or in '
                             f'"bfloat16"')
        self._plan_precision = precision and torch.bfloat16
        self.outputs = self._optimized_for = names
        self._outputs = [self._blob_names.index(name) for name in names]
        self._plan = None

    def forward_all(self, blobs: list[str] | None = None,
                    **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """`forward` over any number of items, in batches; copies of outputs and `blobs`, joined."""
        return batching.forward_all(self, blobs, inputs)

    def forward_backward_all(self, blobs: list[str] | None = None, diffs: list[str] | None = None,
                             **arrays: np.ndarray) -> tuple[dict[str, np.ndarray], ...]:
        """`forward` and `backward` over any number of items: (outputs and `blobs`, diffs of inputs
        and `diffs`). Arrays are data of inputs and diffs of outputs.
        """
        return batching.forward_backward_all(self, blobs, diffs, arrays)

    def _batch(self, blobs: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        """Slices of the net's batch size, the last filled up with zeros."""
        return batching.batches(self, blobs)

    def set_input_arrays(self, data: np.ndarray, labels: np.ndarray) -> None:
        """Let the MemoryData layer at the start read from data (N, K, H, W) and labels (N,)."""
        if labels.ndim == 1:
            labels = np.ascontiguousarray(labels[:, None, None, None])
        self._set_input_arrays(data, labels)

    def _set_input_arrays(self, data: np.ndarray, labels: np.ndarray) -> None:
        batching.set_input_arrays(self, data, labels)

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
        for function in self._callbacks.get(event, ()):
            function(layer)

    def _forward(self, first: int, last: int) -> float:
        """Run layers first..last; returns the weighted loss of their tops."""
        self._check_range(first, last)
        if self._optimized_for is not None:
            return self._forward_optimized(first, last)
        run = self._recording.start_forward(first, last)
        for i in range(first, last + 1):
            self._call("before_forward", i)
            self._forward_layer(i, run)
            if self.debug_info:
                debug_info.log_forward(self, i)
            self._call("after_forward", i)
        return self._loss(first, last)

    def _forward_optimized(self, first: int, last: int) -> float:
        if (first, last) != (0, len(self._nodes) - 1):
            raise CaffeError("a net that was optimised runs as a whole: forward() without start "
                             "and end")
        if self._plan is None:
            losses = [i for i, weight in enumerate(self._blob_loss_weights) if weight]
            self._plan = Plan(self._nodes, [*self._outputs, *losses], self._plan_precision)
        self._plan.run(self._call)
        return self._loss(first, last)

    def _forward_layer(self, i: int, run: Callable[[int], None]) -> None:
        node = self._nodes[i]
        run(i)
        with noted(node.layer):
            if not node.layer.shapes_by_running:
                node.layer.reshape(node.bottom, node.top)
            node.layer.forward(node.bottom, node.top)
        _weigh(node)

    def _loss(self, first: int, last: int) -> float:
        terms = [weight * blob.tensor.sum() for node in self._nodes[first:last + 1]
                 for blob, weight in zip(node.top, node.loss_weights) if weight]
        return float(torch.stack(terms).sum()) if terms else 0.0

    def _backward(self, first: int, last: int) -> None:
        self._check_range(last, first)
        if self._optimized_for is not None:
            raise CaffeError("a net that was optimised keeps nothing for backward(); build it "
                             "again without net.optimize()")
        self._recording.ensure(self._forward_layer)
        for i in range(first, last - 1, -1):
            self._call("before_backward", i)
            if self._nodes[i].need_backward:
                self._backward_layer(self._nodes[i])
                if self.debug_info:
                    debug_info.log_backward(self, i)
            self._call("after_backward", i)

    def _backward_layer(self, node: Node) -> None:
        with noted(node.layer):
            node.layer.backward(node.top, node.layer.bottom_needs_gradient, node.bottom)

    def _check_range(self, first: int, last: int) -> None:
        if not (first >= 0 and last < len(self._nodes)):
            raise IndexError(f"layers {first} to {last}: the net has 0 to {len(self._nodes) - 1}")

    def forward_backward(self) -> float:
        """One forward and one backward pass; returns the weighted loss."""
        loss = self._forward(0, len(self._nodes) - 1)
        self._backward(len(self._nodes) - 1, 0)
        if self.debug_info:
            debug_info.log_norms(self)
        return loss

    def _blob(self, name: str) -> Blob:
        if name not in self.blobs:
            raise KeyError(f'the net has no blob "{name}";{nearest(name, self.blobs)}')
        return self.blobs[name]

    def _position(self, layer: str) -> int:
        try:
            return self._layer_names.index(layer)
        except ValueError:
            hint = nearest(layer, self._layer_names) or f" it has {', '.join(self._layer_names)}"
            raise ValueError(f'the net has no layer "{layer}";{hint}') from None

    def _fill(self, given: dict, names: list[str], what: str, attribute: str) -> None:
        """Write arrays into the data or diff of all blobs `names`."""
        for name in [*given, *names]:
            if name not in names or name not in given:
                problem = "is missing" if name in names else f"is not an {what} blob of the net"
                raise ValueError(f'"{name}" {problem}; {what}s: {", ".join(names) or "none"}')
        for name, value in given.items():
            target, value = getattr(self.blobs[name], attribute), np.asarray(value)
            if value.shape[:1] != target.shape[:1] or not _broadcasts(value.shape, target.shape):
                raise ValueError(f'{what} "{name}" has the shape {target.shape}, got '
                                 f"{value.shape}; net.blobs['{name}'].reshape(...) changes it")
            target[...] = value.reshape(target.shape) if value.size == target.size else value

    # --- weights ----------------------------------------------------------------------------

    def copy_from(self, path: str, required: bool = False) -> None:
        """Load weights by layer name from a .caffemodel or HDF5 file (told by content).

        Raises WeightsError if the file is damaged, does not fit, or holds no layers. If nothing
        in it is for this net: a warning; if that is `required`, WeightsError.
        """
        weight_files.load(self, str(path), required=required)
        self._plan = None

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
        """Use the parameters of `other` for layers of the same name: one memory."""
        for layer in self.layers:
            source = other.params.get(layer.name, [])
            if len(source) != len(layer.blobs) and len(source):
                raise CaffeError(f"share_with: {layer.title} has {len(layer.blobs)} parameters, "
                                 f"the other net's {len(source)}")
            for mine, theirs in zip(layer.blobs, source):
                if mine.shape != theirs.shape:
                    raise CaffeError(f"share_with: {layer.title} has a parameter of shape "
                                     f"{mine.shape}, the other net's has {theirs.shape}")
                mine.share_data(theirs)
        self._plan = None


def _weigh(node: Node) -> None:
    """A top of the loss has its weight for a gradient, also when a new size dropped that."""
    for blob, weight in zip(node.top, node.loss_weights):
        if weight and not blob.has_diff:
            blob.diff_tensor.fill_(weight)


def _broadcasts(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether numpy could assign an array of `shape` to one of `target`, or they hold as much."""
    if math.prod(shape) == math.prod(target):
        return True
    return len(shape) == len(target) and all(n in (1, m) for n, m in zip(shape, target))


def _arguments(file: str, args: tuple, options: dict[str, Any]) -> dict[str, Any]:
    """The arguments of Net() after the file, in either of pycaffe's orders."""
    old_form = bool(args) and isinstance(args[0], (str, bytes, os.PathLike))
    order = ("weights", "phase") if old_form else ("phase", "level", "stages", "weights")
    known = {"phase": None, "level": 0, "stages": None, "weights": None, "dtype": "float32"}
    unknown = set(options).difference(known)
    if unknown or len(args) > len(order):
        raise TypeError(f"Net(file, phase, level, stages, weights, dtype) or Net(file, weights, "
                        f"phase); got {args} {options}")
    given = {**known, **dict(zip(order, args)), **options}
    if given["phase"] is None:
        raise TypeError("Net() needs a phase: caffe.TRAIN or caffe.TEST")
    if old_form:
        log.warning("Net(file, weights, phase) is the form of before 2016; the present one is "
                    "Net('%s', %d, weights='%s')", file, given["phase"], args[0])
    return given
