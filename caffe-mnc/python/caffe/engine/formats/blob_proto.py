"""Arrays as BlobProto messages, and as a file holds them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from caffe.engine.errors import WeightsError
from caffe.proto import caffe_pb2

_MOST_VALUES = 2**40            # of a shape, its lengths of 0 left out of account
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
    field, dtype = ("double_data", np.float64) if proto.double_data else ("data", np.float32)
    legacy = any(proto.HasField(f) for f in ("num", "channels", "height", "width"))
    shape = (proto.num, proto.channels, proto.height, proto.width) if legacy \
        else tuple(proto.shape.dim)
    values = getattr(proto, field)
    if min(shape, default=0) < 0 or len(values) != math.prod(shape) \
            or math.prod(max(length, 1) for length in shape) > _MOST_VALUES:
        raise WeightsError(f"{label}: {len(values)} values for the shape {shape}")
    return Stored(shape, lambda: np.array(values, dtype).reshape(shape), legacy)


def to_blob_proto(data: torch.Tensor, diff: torch.Tensor | None = None) -> Any:
    """A BlobProto of a float32 or float64 tensor, with its gradient if given."""
    proto = caffe_pb2.BlobProto()
    proto.shape.dim.extend(data.shape)
    for what, tensor in (("data", data), ("diff", diff)):
        if tensor is not None and tensor.numel():
            # Handing over the packed bytes is some hundred times faster than extending the field.
            content = tensor.detach().cpu().contiguous().numpy().tobytes()
            tag = _TAGS[what, tensor.dtype] << 3 | 2
            proto.MergeFromString(bytes([tag]) + _varint(len(content)) + content)
    return proto


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out + bytes([value]))
