"""Tops without bottoms or files: Input, Parameter, DummyData, MemoryData."""

from __future__ import annotations

import json
import math

import numpy as np
import torch
from torch import Tensor

from caffe.engine import log
from caffe.engine.errors import CaffeError, LayerError
from caffe.engine.fillers import fill
from caffe.engine.layer import LAYERS, TRAIN, Layer, TorchLayer, at_least, exactly
from caffe.engine.parallel.ranks import solver_count, solver_rank
from caffe.layer_types.batches import naming, reshape_tops
from caffe.proto import caffe_pb2


@LAYERS.register("Input")
class Input(Layer):
    """Blobs the user fills. input_param.shape: none, one for all tops, or one a top"""

    num_bottom = exactly(0)
    num_top = at_least(1)
    is_input = True

    def setup(self, bottom, top):
        shapes = [tuple(s.dim) for s in self.param.input_param.shape]
        if len(shapes) not in (0, 1, len(top)):
            raise LayerError(f"{self.title}: {len(top)} tops, but {len(shapes)} shapes; give none, "
                             f"one, or one a top")
        for i, blob in enumerate(top if shapes else ()):
            blob.reshape(*shapes[i if len(shapes) > 1 else 0])

    def forward(self, bottom, top):
        pass

    def backward(self, top, propagate_down, bottom):
        pass


@LAYERS.register("Parameter")
class Parameter(TorchLayer):
    """A learned blob of parameter_param.shape as a top"""

    num_bottom = exactly(0)
    num_top = exactly(1)

    def setup(self, bottom, top):
        self.add_blob(tuple(self.param.parameter_param.shape.dim))

    def compute(self, value: Tensor) -> Tensor:
        return value


@LAYERS.register("DummyData")
class DummyData(Layer):
    """Tops filled by data_filler: constants once, anything else anew in each forward

    shape and data_filler: one for all tops, or one a top; no filler means 0. The old form of shape
    is num, channels, height, width.
    """

    num_bottom = exactly(0)
    num_top = at_least(1)

    def setup(self, bottom, top):
        options = self.param.dummy_data_param
        shapes = [tuple(s.dim) for s in options.shape] or self._old_shapes(options, len(top))
        fillers = list(options.data_filler) or [caffe_pb2.FillerParameter(type="constant")]
        for what, given in (("shape", shapes), ("data_filler", fillers)):
            if len(given) not in (1, len(top)):
                raise LayerError(f"{self.title}: {len(top)} tops, but {len(given)} {what}; give "
                                 f"one, or one a top")
        self.fillers = fillers * (len(top) // len(fillers))
        reshape_tops(self, top, *shapes * (len(top) // len(shapes)), least=0)
        for blob, filler in zip(top, self.fillers):
            self._fill(blob, filler)

    def _old_shapes(self, options, tops):
        sizes = [list(getattr(options, n)) for n in ("num", "channels", "height", "width")]
        if any(len(size) not in (1, tops) for size in sizes):
            raise LayerError(f"{self.title}: give shape; or num, channels, height and width, each "
                             f"once or once a top")
        return list(zip(*(size * (tops // len(size)) for size in sizes)))

    def _fill(self, blob, filler):
        values = torch.empty(blob.shape, dtype=self.dtype, device=self.device)
        with naming(self):
            fill(values, filler)
        blob.tensor = values

    def forward(self, bottom, top):
        for blob, filler in zip(top, self.fillers):
            if filler.type != "constant":
                self._fill(blob, filler)

    def backward(self, top, propagate_down, bottom):
        pass


@LAYERS.register("MemoryData")
class MemoryData(Layer):
    """top: batches of the user's array (N, C, H, W) and its labels (N,), round and round

    `reset(data, labels)` gives the arrays, which are read, not copied. Nothing is transformed. In
    phase TRAIN workers take every N-th batch of the same arrays.
    """

    num_bottom = exactly(0)
    shared_place = True
    num_top = exactly(2)
    takes_arrays = True

    def setup(self, bottom, top):
        options = self.param.memory_data_param
        self.batch_size = options.batch_size
        self.item_shape = (options.channels, options.height, options.width)
        reshape_tops(self, top, (self.batch_size, *self.item_shape), (self.batch_size,))
        self._data = self._labels = None
        self._position = 0                      # of all workers
        self._share = (solver_rank(), solver_count()) if self.phase == TRAIN else (0, 1)
        self._restored: int | None = None       # a place that waits for its arrays

    def reset(self, data: np.ndarray, labels: np.ndarray) -> None:
        """Serve `data` (n, C, H, W) with `labels` (n values in any shape) from the start.

        n must be a multiple of the batch size.
        """
        if data.shape[1:] != self.item_shape:
            raise LayerError(f"{self.title}: data must be (n, "
                             f"{', '.join(map(str, self.item_shape))}), got {data.shape}")
        if not len(data) or len(data) % self.batch_size:
            raise LayerError(f"{self.title}: the number of items must be a multiple of batch_size "
                             f"{self.batch_size}, got {len(data)}")
        if math.prod(labels.shape) != len(data):
            raise LayerError(f"{self.title}: {len(data)} items need as many labels, got shape "
                             f"{labels.shape}")
        if self.param.HasField("transform_param"):
            log.warning("%s does not transform arrays: transform_param is ignored", self.title)
        self._data, self._labels = data, labels.reshape(-1)
        place, self._restored = self._restored or 0, None
        self._position = place if place < len(data) else 0

    def set_arrays(self, data: np.ndarray, labels: np.ndarray) -> None:
        """`reset` for Net.set_input_arrays: (n, C, H, W) and (n, 1, 1, 1), float32, contiguous."""
        for name, array, shape in (("data", data, self.item_shape), ("labels", labels, (1, 1, 1))):
            wanted = f"set_input_arrays: {name} must be (N, {', '.join(map(str, shape))})"
            if array.ndim != 4 or array.shape[1:] != shape:
                raise CaffeError(f"{wanted}, got {array.shape}")
            if array.dtype != np.float32 or not array.flags.c_contiguous:
                raise CaffeError(f"{wanted}, float32 and C-contiguous, got {array.dtype}; "
                                 f"np.ascontiguousarray({name}, np.float32) makes it so")
        if len(data) != len(labels):
            raise CaffeError(f"set_input_arrays: {len(data)} items but {len(labels)} labels")
        if len(data) % self.batch_size:
            raise CaffeError(f"set_input_arrays: {len(data)} items are not a multiple of the "
                             f"batch size {self.batch_size}")
        self.reset(data, labels)

    def forward(self, bottom, top):
        if self._data is None:
            raise LayerError(f"{self.title}: has no data yet; call net.set_input_arrays(data, "
                             f"labels) before forward()")
        rank, count = self._share
        begin = (self._position + rank * self.batch_size) % len(self._data)
        part = slice(begin, begin + self.batch_size)
        for blob, values in zip(top, (self._data, self._labels)):
            blob.tensor = torch.tensor(values[part], dtype=self.dtype, device=self.device)
        self._position = (self._position + count * self.batch_size) % len(self._data)

    def backward(self, top, propagate_down, bottom):
        pass

    def snapshot_state(self) -> bytes:
        """What a solver state keeps of this layer: the place in the user's arrays."""
        return json.dumps(self._position).encode()

    def restore_state(self, state: bytes) -> None:
        """Go on from that place, in the arrays there are or in those that come next."""
        with naming(self):
            position = int(json.loads(state))
        if self._data is None:
            self._restored = max(position, 0)
        elif 0 <= position < len(self._data):
            self._position = position
