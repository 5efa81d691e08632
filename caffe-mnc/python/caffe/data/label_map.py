"""Label maps of SSD: which number stands for which class."""

from __future__ import annotations

from typing import Any

from google.protobuf import text_format

from caffe.engine.formats.text import read_text
from caffe.proto import caffe_pb2


def parse_label_map(path: str) -> Any:
    """The LabelMap of a prototxt; ValueError if it is none or gives a label twice."""
    text = read_text(path)
    try:
        found = text_format.Parse(text, caffe_pb2.LabelMap())
    except text_format.ParseError as error:
        raise ValueError(f"{path}: not a label map: {error}") from error
    labels = [item.label for item in found.item]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise ValueError(f"{path}: label {twice[0]} is given twice")
    return found


def read_label_map(path: str) -> dict[int, str]:
    """{label: name} of a label map file"""
    return {item.label: item.name for item in parse_label_map(path).item}
