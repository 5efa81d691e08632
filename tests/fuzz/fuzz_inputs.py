"""Inputs made from inputs: bytes, numbers, JSON, fields of messages, members of archives, chunks of PNGs.

`mutate(random, data, others)` is one step or a few; what keeps a checksum gets it right again, so that
the reader behind it is reached.
"""

from __future__ import annotations

import copy
import io
import json
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence

Mutation = Callable[[random.Random, bytes, Sequence[bytes]], bytes]

NUMBERS = (b"0", b"-1", b"1", b"2", b"255", b"65535", b"65536", b"2147483647", b"-2147483648",
           b"4294967295", b"9223372036854775807", b"-9223372036854775808", b"18446744073709551616",
           b"1e9", b"1e30", b"1e308", b"1e999", b"-1e18", b"0.5", b"-0.0", b"nan", b"inf", b"-inf",
           b"NaN", b"Infinity", b"[]", b"null", b'""', b'"1"', b"true")
WORDS = (0, 1, -1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF,
         0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
VALUES = (None, True, False, 0, -1, 1, 2 ** 31, 2 ** 63, 2 ** 64, -2 ** 63, 1e9, 1e18, 1e300, 0.5,
          float("nan"), float("inf"), float("-inf"), "", "0", "1", "x" * 300, "../../etc/passwd",
          "/etc/passwd", "a\0b", "\ud800", [], {}, [[]], [None], [1e9, 1e9], [0, 0, 1e8, 1e8, 5, 5],
          {"size": [20, 30], "counts": "~~~"}, {"size": [10 ** 6, 10 ** 6], "counts": [1]})
NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
TOKEN = re.compile(rb"\w+|[^\w\s]")


def havoc(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Bits, bytes, words, blocks: some of them changed, doubled, cut out or taken from elsewhere."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 4, 8))):
        if not out:
            return rng.choice(others)
        at = rng.randrange(len(out))
        kind = rng.randrange(8)
        if kind == 0:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif kind == 2:
            size = rng.choice((2, 4, 8))
            word = struct.pack("<Q", rng.choice(WORDS) & 0xFFFFFFFFFFFFFFFF)[:size]
            out[at:at + size] = word if rng.random() < 0.7 else word[::-1]
        elif kind == 3:
            del out[at:at + rng.choice((1, 1, 2, 4, 16, 64))]
        elif kind == 4:
            out[at:at] = out[at:at + rng.choice((1, 2, 4, 16, 64))]
        elif kind == 5:
            other = rng.choice(others)
            start = rng.randrange(len(other) + 1)
            out[at:at + rng.choice((0, 8))] = other[start:start + rng.choice((1, 4, 16, 128))]
        elif kind == 6:
            del out[at:]
        else:
            out[at:at] = bytes(rng.randrange(256) for _ in range(rng.choice((1, 4, 16))))
    return bytes(out)


def text(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """A number replaced, or a token of this or another input."""
    pattern, new = (NUMBER, NUMBERS) if rng.random() < 0.5 else (TOKEN, None)
    places = list(pattern.finditer(data))
    if not places:
        return havoc(rng, data, others)
    place = rng.choice(places)
    if new:
        word = rng.choice(new)
    else:
        found = TOKEN.findall(rng.choice(others)) or [b"x"]
        word = rng.choice((b"", rng.choice(found), rng.choice(found) + b" " + rng.choice(found)))
    return data[:place.start()] + word + data[place.end():]


def structure(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """JSON with a value replaced, left out, doubled, or nested."""
    try:
        root = [json.loads(data)]
    except (ValueError, RecursionError):
        return text(rng, data, others)
    for _ in range(rng.choice((1, 1, 2, 3))):
        holder, key = root, 0
        while isinstance(holder[key], (dict, list)) and holder[key] and rng.random() < 0.85:
            holder = holder[key]
            key = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        kind = rng.randrange(5)
        if kind == 0 and isinstance(holder, list) and len(holder) > 1:
            holder.insert(key, holder[key])
        elif kind == 1 and isinstance(holder, dict):
            del holder[key]
        elif kind == 2:
            holder[key] = [holder[key]]
        else:
            holder[key] = copy.deepcopy(rng.choice(VALUES))
    return json.dumps(root[0]).encode(errors="replace")


def archive(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """A zip file with one member changed, left out or renamed; its checksum is right."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            members = {name: file.read(name) for name in file.namelist()}
    except Exception:
        return havoc(rng, data, others)
    if not members:
        return havoc(rng, data, others)
    name = rng.choice(list(members))
    kind = rng.randrange(6)
    if kind == 0:
        members[rng.choice(list(members))] = members[name]
    elif kind == 1:
        del members[name]
    elif kind < 4:                                  # the header of the array
        members[name] = text(rng, members[name][:80], others) + members[name][80:]
    else:
        members[name] = havoc(rng, members[name], list(members.values()))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return out.getvalue()


def chunks(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """A PNG with one chunk changed, its checksum right; pixels are changed before compression."""
    parts, at = [], 8
    while at + 12 <= len(data):
        size, = struct.unpack(">I", data[at:at + 4])
        parts.append([data[at + 4:at + 8], data[at + 8:at + 8 + size]])
        at += 12 + size
    if not parts:
        return havoc(rng, data, others)
    part = rng.choice(parts)
    if part[0] == b"IDAT" and rng.random() < 0.5:
        try:
            part[1] = zlib.compress(havoc(rng, zlib.decompress(part[1]), others))
        except zlib.error:
            part[1] = havoc(rng, part[1], others)
    else:
        part[1] = havoc(rng, part[1], others)
    return data[:8] + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts)


def fields(message: Callable[[], object]) -> Mutation:
    """A protobuf message with a field set to an odd value, cleared or doubled."""
    def change(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
        root = message()
        try:
            root.ParseFromString(data)
        except Exception:
            return havoc(rng, data, others)
        for _ in range(rng.choice((1, 1, 2, 3))):
            _change_field(rng, root)
        return root.SerializePartialToString()
    return change


def _change_field(rng: random.Random, message: object) -> None:
    while True:
        present = [field for field, _ in message.ListFields()]
        nested = [field for field in present if field.message_type]
        if not nested or rng.random() < 0.25:
            break
        field = rng.choice(nested)
        value = getattr(message, field.name)
        message = rng.choice(value) if field.label == field.LABEL_REPEATED else value
    field = rng.choice(present if present and rng.random() < 0.7 else message.DESCRIPTOR.fields)
    if rng.random() < 0.15:
        message.ClearField(field.name)
    elif field.message_type:
        place = getattr(message, field.name)
        place.add() if field.label == field.LABEL_REPEATED else place.SetInParent()
    else:
        _set(rng, message, field)


def _set(rng: random.Random, message: object, field: object) -> None:
    for _ in range(4):                              # until one fits the type
        value = rng.choice(VALUES) if rng.random() < 0.5 else rng.choice(WORDS)
        if field.cpp_type == field.CPPTYPE_ENUM:
            value = rng.choice(field.enum_type.values).number
        try:
            if field.label == field.LABEL_REPEATED:
                values = getattr(message, field.name)
                if values and rng.random() < 0.6:
                    values[rng.randrange(len(values))] = value
                else:
                    values.append(value)
            else:
                setattr(message, field.name, value)
            return
        except (TypeError, ValueError, OverflowError):
            continue

