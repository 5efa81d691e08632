"""Arrays as BlobProto messages, and as a file holds them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from caffe.engine.errors import WeightsError
from caffe.engine.formats.wire import varint
from caffe.proto import caffe_pb2

_MOST_VALUES = 2**40            # of a shape, its lengths of 0 left out of account
_RAW_TYPES: dict[int, np.dtype] = {         # by bytes a value
    2: np.dtype("<f2"), 4: np.dtype("<f4"), 8: np.dtype("<f8")}
_TAGS = {("data", torch.float32): 5, ("diff", torch.float32): 6,
         ("data", torch.float64): 8, ("diff", torch.float64): 9}


@dataclass(frozen=True)
class Stored:
    """A parameter in a file: its shape, and how to read its values."""

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]
    legacy: bool = False        # the shape is num, channels, height, width of an old file

    def fits(self, shape: tuple[int, ...]) -> bool:
        if not self.legacy:
            return self.shape == shape
        return len(shape) <= 4 and self.shape == (1,) * (4 - len(shape)) + shape


def from_blob_proto(proto: Any, label: str = "blob") -> Stored:
    """The data of a BlobProto; WeightsError if it holds another number of values than its shape."""
    values, dtype = _values(proto)
    legacy = any(proto.HasField(f) for f in ("num", "channels", "height", "width"))
    shape = (proto.num, proto.channels, proto.height, proto.width) if legacy \
        else tuple(proto.shape.dim)
    if min(shape, default=0) < 0 or len(values) != math.prod(shape) \
            or math.prod(max(length, 1) for length in shape) > _MOST_VALUES:
        raise WeightsError(f"{label}: {len(values)} values for the shape {shape}")
    return Stored(shape, lambda: np.array(values, dtype).reshape(shape), legacy)


def _values(proto: Any) -> tuple[Any, np.dtype | type]:
    """The values of a BlobProto and their type: double_data, data, or NVIDIA's raw_data, whose
    bytes a value tell half, float or double."""
    if proto.double_data:
        return proto.double_data, np.float64
    if proto.data or not proto.raw_data:
        return proto.data, np.float32
    count = math.prod(proto.shape.dim) if proto.shape.dim else \
        proto.num * proto.channels * proto.height * proto.width
    raw: Any = _RAW_TYPES.get(len(proto.raw_data) // max(1, count), np.dtype("<f4"))
    whole = len(proto.raw_data) // raw.itemsize * raw.itemsize
    wide = np.float64 if raw.itemsize == 8 else np.float32
    return np.frombuffer(proto.raw_data[:whole], raw), wide


def to_blob_proto(data: torch.Tensor, diff: torch.Tensor | None = None) -> Any:
    """A BlobProto of a float32 or float64 tensor, with its gradient if given. Of any shape."""
    proto = caffe_pb2.BlobProto()
    proto.shape.dim.extend(data.shape)
    for what, tensor in (("data", data), ("diff", diff)):
        if tensor is not None and tensor.numel():
            # Handing over the packed bytes is some hundred times faster than extending the field.
            content = tensor.detach().cpu().contiguous().numpy().tobytes()
            tag = _TAGS[what, tensor.dtype] << 3 | 2
            proto.MergeFromString(bytes([tag]) + varint(len(content)) + content)
    return proto


def text_of(field: Any) -> str:
    """A string of a message; protobuf gives bytes where it is no UTF-8."""
    return field.decode("utf-8", "replace") if isinstance(field, bytes) else field
