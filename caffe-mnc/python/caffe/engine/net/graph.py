"""The layers and blobs of a net, connected, and found by name or number."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, TypeVar

import torch

from caffe.engine import log, memory
from caffe.engine.blob import Blob
from caffe.engine.device import current_device
from caffe.engine.errors import CaffeError
from caffe.engine.formats.upgrade import upgrade
from caffe.engine.layer import Layer, Phase
from caffe.engine.net.build import (
    AUTOMATIC,
    connect,
    filter_by_state,
    insert_splits,
    make_layer,
    mark_backward,
)
from caffe.engine.net.parameters import Parameters
from caffe.engine.registry import nearest
from caffe.proto import caffe_pb2

T = TypeVar("T")
DTYPES = {"float32": torch.float32, "float64": torch.float64}


class Graph:
    """What of a net does not run: its text, its nodes, its blobs and parameters under their names.

    `Net` says what the attributes are.
    """

    # --- building ---------------------------------------------------------------------------

    def _build(self, param: Any, phase: int, level: int, stages: Iterable[str] | None,
               dtype: str) -> None:
        """Make all layers; raises LayerError."""
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
        self.about: dict[str, str] = {}         # kept in HDF5 weights, as attributes
        self.debug_info = param.debug_info      # log mean absolute values of all blobs
        self.parameters = Parameters()
        with memory.building():
            self.nodes, self._blob_names, self._blobs = connect(
                self.proto, self._make_layer, self._make_blob, self.parameters.add_layer)
        mark_backward(self.nodes, param.force_backward, self.parameters.learns)
        self._index()
        log.info('Network "%s" initialized: %d layers, %d blobs', self.name, len(self.nodes),
                 len(self._blobs))

    def _make_layer(self, layer_param: Any) -> Layer:
        phase = layer_param.phase if layer_param.HasField("phase") else self.phase
        return make_layer(layer_param, phase, self.dtype, self.device)

    def _make_blob(self) -> Blob:
        return Blob((), self.dtype, self.device)

    def _index(self) -> None:
        """The dictionaries and lists by which users find layers and blobs."""
        self.layers = [node.layer for node in self.nodes]
        self._layer_names = [layer.name for layer in self.layers]
        self.layer_dict = OrderedDict(zip(self._layer_names, self.layers))
        self.blobs = self._named(self._blobs)
        self.params = OrderedDict((y.name, y.blobs) for y in self.layers if len(y.blobs))
        self.bottom_names = OrderedDict((n.layer.name, n.bottom_names) for n in self.nodes)
        self.top_names = OrderedDict((n.layer.name, n.top_names) for n in self.nodes)
        self._inputs = [i for node in self.nodes if node.layer.is_input for i in node.top_ids]
        self.inputs = [self._blob_names[i] for i in self._inputs]
        self._show_outputs(self._find_outputs())
        weights = dict.fromkeys(range(len(self._blobs)), 0.0)
        for node in self.nodes:
            weights.update(zip(node.top_ids, node.loss_weights))
        self._blob_loss_weights = list(weights.values())
        self.blob_loss_weights = self._named(self._blob_loss_weights)

    def _named(self, of_blobs: Iterable[T]) -> OrderedDict[str, T]:
        """One thing a blob, by name, but for the unnamed tops of losses."""
        return OrderedDict((name, each) for name, each in zip(self._blob_names, of_blobs)
                           if name != AUTOMATIC)

    def _find_outputs(self) -> list[str]:
        """Blobs nobody consumes, in Caffe's order: by name."""
        loose: dict[int, str] = {}
        for node in self.nodes:
            for i in node.bottom_ids:
                loose.pop(i, None)
            loose.update(zip(node.top_ids, node.top_names))
        return sorted(name for name in loose.values() if name != AUTOMATIC)

    def _show_outputs(self, names: list[str]) -> None:
        self.outputs = names
        first = {name: i for i, name in reversed(list(enumerate(self._blob_names)))}
        self._outputs = [first[name] for name in names]

    def _bottom_ids(self, i: int) -> list[int]:
        """Places in `_blobs` of the bottoms of layer `i`."""
        return self.nodes[i].bottom_ids

    def _top_ids(self, i: int) -> list[int]:
        """Places in `_blobs` of the tops of layer `i`."""
        return self.nodes[i].top_ids

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

    def _blob(self, name: str) -> Blob:
        if name not in self.blobs:
            hint = nearest(name, self.blobs, f"it has {', '.join(self.blobs)}")
            raise KeyError(f'the net has no blob "{name}"{hint}')
        return self.blobs[name]

    def _position(self, layer: str) -> int:
        try:
            return self._layer_names.index(layer)
        except ValueError:
            hint = nearest(layer, self._layer_names, f"it has {', '.join(self._layer_names)}")
            raise ValueError(f'the net has no layer "{layer}"{hint}') from None

    def _check_range(self, first: int, last: int) -> None:
        if not (first >= 0 and last < len(self.nodes)):
            raise IndexError(f"layers {first} to {last}: the net has 0 to {len(self.nodes) - 1}")



def arguments(file: str, args: tuple, options: dict[str, Any]) -> dict[str, Any]:
    """The arguments of Net() after the file, in either of pycaffe's orders.

    Raises TypeError for others.
    """
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
