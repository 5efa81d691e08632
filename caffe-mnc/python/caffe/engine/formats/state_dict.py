"""Weights of torch: .safetensors, and what torch.save wrote, of which tensors alone are read."""

from __future__ import annotations

import math
import os
import pickle
import struct
from collections.abc import Mapping
from typing import Any

import torch

from caffe.engine.errors import WeightsError
from caffe.engine.formats.image_file import read_file
from caffe.engine.formats.text import parse_json

MOST_HEADER = 100_000_000           # bytes, as the format's own readers have it
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16,
          "BF16": torch.bfloat16, "I64": torch.int64, "I32": torch.int32, "I16": torch.int16,
          "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool}
# Where trainings keep the weights among other things, and what wrappers write before the names.
NESTS = ("state_dict", "model_state_dict", "model_state", "model", "net", "weights")
WRAPPERS = ("module.", "_orig_mod.")

State = dict[str, torch.Tensor]


def read_state_dict(path: str | os.PathLike[str]) -> State:
    """The tensors of a file by their names, without those of wrappers (`module.`).

    Nothing in the file is run. Raises WeightsError if it is damaged, is of another kind or holds no
    tensors; OSError if it cannot be read.
    """
    content = _torch_file(path)
    tensors = _safetensors(read_file(path), path) if content is None else content
    found = {name: value for name, value in tensors.items() if isinstance(value, torch.Tensor)}
    if not found:
        raise WeightsError(f"{path}: no tensors in it; it must hold a state_dict")
    for wrapper in WRAPPERS:
        if all(name.startswith(wrapper) for name in found):
            found = {name.removeprefix(wrapper): value for name, value in found.items()}
    return found


def _torch_file(path: str | os.PathLike[str]) -> Mapping[str, Any] | None:
    """The dictionary that torch.save wrote; None if the file does not begin as those do."""
    with open(path, "rb") as file:
        start = file.read(2)
    if start not in (b"PK", b"\x80\x02"):              # an archive, or the pickle of torch < 1.6
        return None
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(f"{path}: it holds Python objects beside tensors, and those are not "
                           "loaded; save the state_dict() of the module") from error
    except Exception as error:                          # torch says it in many types
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise WeightsError(f"{path}: torch cannot read it: {reason}") from error
    while isinstance(held, Mapping):
        inner = next((held[name] for name in NESTS if isinstance(held.get(name), Mapping)), None)
        if inner is None:
            return {str(name): value for name, value in held.items()}
        held = inner
    raise WeightsError(f"{path}: it holds a {type(held).__name__}, not a state_dict")


def _safetensors(content: bytes, path: str | os.PathLike[str]) -> State:
    """8 bytes n, n bytes of JSON: name -> dtype, shape, data_offsets; then the values."""
    size = struct.unpack("<Q", content[:8])[0] if len(content) >= 8 else 0
    if not 2 <= size <= min(MOST_HEADER, len(content) - 8):
        raise WeightsError(f"{path}: neither a .safetensors file nor one of torch.save")
    try:
        header = parse_json(content[8:8 + size])
    except ValueError as error:
        raise WeightsError(f"{path}: neither a .safetensors file nor one of torch.save "
                           f"({error})") from error
    if not isinstance(header, dict):
        raise WeightsError(f"{path}: the header of a .safetensors file must be an object")
    values = memoryview(bytearray(content[8 + size:]))      # writable, as torch wants it
    return {name: _tensor(entry, values, f"{path}: {name}")
            for name, entry in header.items() if name != "__metadata__"}


def _tensor(entry: Any, values: memoryview, place: str) -> torch.Tensor:
    try:
        dtype, shape = DTYPES[entry["dtype"]], tuple(entry["shape"])
        first, end = entry["data_offsets"]
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{place}: no dtype, shape and data_offsets that can be read in "
                           f"{entry!r}") from error
    numbers = (*shape, first, end)
    if not all(type(n) is int and n >= 0 for n in numbers) or not first <= end <= len(values) \
            or math.prod(shape) * dtype.itemsize != end - first:
        raise WeightsError(f"{place}: {dtype} of shape {shape} is not bytes {first} to {end} of "
                           f"{len(values)}")
    if first == end:
        return torch.zeros(shape, dtype=dtype)
    aligned = bytearray(values[first:end])
    return torch.frombuffer(aligned, dtype=dtype).reshape(shape)
