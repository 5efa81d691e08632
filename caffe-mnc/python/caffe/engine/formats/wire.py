"""The wire format of protobuf, as far as reading the files of other forks of Caffe needs it.

Forks have numbered their layers' options alike and filled them otherwise: what one wrote as a
message is a string in another. Weights need none of that: names, types, connections, blobs.
"""

from __future__ import annotations

from collections.abc import Iterator

# What stays of a NetParameter: field -> what stays of it; None: all of it.
_BLOBS_1 = {1: None, 50: None}                              # V0: name, blobs
_LAYERS = {1: _BLOBS_1, 2: None, 3: None, 4: None, 6: None}     # V1: bottoms, tops, name, blobs
_LAYER = {1: None, 2: None, 3: None, 4: None, 7: None}      # name, type, bottoms, tops, blobs
WEIGHTS = {1: None, 2: _LAYERS, 100: _LAYER}

_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5


def only(content: bytes, kept: dict) -> bytes:
    """The message without fields other than those of `kept`; ValueError if it is no message."""
    return b"".join(_kept(memoryview(content), kept))


def _kept(content: memoryview, kept: dict) -> Iterator[bytes | memoryview]:
    for number, start, payload, end in _fields(content):
        if number not in kept:
            continue
        inner = kept[number]
        if inner is None:
            yield content[start:end]
        elif payload is not None:
            parts = list(_kept(payload, inner))
            yield varint(number << 3 | _BYTES)
            yield varint(sum(map(len, parts)))
            yield from parts


def _fields(content: memoryview) -> Iterator[tuple[int, int, memoryview | None, int]]:
    """(number, where it starts, what bytes it holds, where it ends) of each field."""
    at = 0
    while at < len(content):
        start = at
        tag, at = _read_number(content, at)
        number, kind = tag >> 3, tag & 7
        payload = None
        if kind == _VARINT:
            _, at = _read_number(content, at)
        elif kind in (_EIGHT, _FOUR):
            at += 8 if kind == _EIGHT else 4
        elif kind == _BYTES:
            length, at = _read_number(content, at)
            payload, at = content[at:at + length], at + length
        else:
            raise ValueError(f"byte {start}: there is no wire type {kind}")
        if not number or at > len(content):
            raise ValueError(f"byte {start}: a field without number, or cut off")
        yield number, start, payload, at


def _read_number(content: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(content) and shift < 70:
        byte = content[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
    raise ValueError(f"byte {at}: a number is cut off or too long")


def varint(value: int) -> bytes:
    """A number as the wire has it."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out + bytes([value]))
