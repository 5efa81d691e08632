"""Hashes of files and values: SHA-256 in hexadecimal, 64 digits."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

BLOCK = 1 << 20             # bytes read at a time


def file_hash(path: str | Path, *also: object) -> str:
    """Of a file's bytes; with `also`, of these values (that JSON can hold) and the bytes.

    Raises OSError if the file cannot be read.
    """
    digest = hashlib.sha256(json.dumps(also).encode() if also else b"")
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def value_hash(value: object) -> str:
    """Of a value that JSON can hold."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
