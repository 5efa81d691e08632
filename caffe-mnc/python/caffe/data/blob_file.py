"""Arrays in files of their own: a binary BlobProto, such as an image mean."""

from __future__ import annotations

import os

import numpy as np
from google.protobuf.message import DecodeError

from caffe.engine.formats.blob_proto import from_blob_proto
from caffe.proto import caffe_pb2


def read_blob(path: str | os.PathLike[str]) -> np.ndarray:
    """The array in a .binaryproto file; ValueError if it is none, or damaged.

    Its shape is the one in the file.
    """
    with open(path, "rb") as file:
        content = file.read()
    try:
        proto = caffe_pb2.BlobProto.FromString(content)
    except DecodeError as error:
        raise ValueError(f"{os.fspath(path)}: not a BlobProto, or damaged "
                         f"({len(content)} bytes)") from error
    return from_blob_proto(proto, os.fspath(path)).read()
