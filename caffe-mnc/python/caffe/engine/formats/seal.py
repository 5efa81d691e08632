"""A length and a checksum in front of a protobuf message, by which a cut file is known.

A message that is cut between two of its fields still parses. What we write therefore begins with
a field 11901 of 12 bytes: the length of what follows (uint64, little-endian) and its CRC-32
(uint32). Readers that do not know the field skip it; one that writes the message anew moves it
behind the others, where it means nothing.
"""

from __future__ import annotations

import os
import struct
import zlib

from caffe.engine.errors import WeightsError

_HEAD = bytes([0xEA, 0xE7, 0x05, 12])       # 11901 << 3 | 2 as a varint, then the length 12
SIZE = len(_HEAD) + 12


def seal(content: bytes) -> bytes:
    """What to write in front of `content`."""
    return _HEAD + struct.pack("<QI", len(content), zlib.crc32(content))


def read_sealed(path: str | os.PathLike[str]) -> bytes:
    """The message in a file, without its seal if it has one.

    Raises WeightsError if the seal says that something is missing or changed.
    """
    with open(path, "rb") as file:
        start = file.read(SIZE)
        if len(start) < SIZE or not start.startswith(_HEAD):
            return start + file.read()
        content = file.read()
    length, checksum = struct.unpack("<QI", start[len(_HEAD):])
    if len(content) != length:
        raise WeightsError(f"{os.fspath(path)}: incomplete: {len(content) + SIZE} bytes of "
                           f"{length + SIZE}; it was cut, or copying it has not ended")
    if zlib.crc32(content) != checksum:
        raise WeightsError(f"{os.fspath(path)}: damaged: its checksum is not that of its content")
    return content


def fingerprint(path: str | os.PathLike[str]) -> dict[str, int]:
    """The size and the CRC-32 of a file."""
    size = checksum = 0
    with open(path, "rb") as file:
        while piece := file.read(1 << 22):
            size, checksum = size + len(piece), zlib.crc32(piece, checksum)
    return {"bytes": size, "crc32": checksum}
