"""What an image shows: objects with their boxes, in shares of its width and height."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from caffe.data.images import Record, record_of
from caffe.proto import caffe_pb2

WHOLE = np.array([0, 0, 1, 1], np.float32)


@dataclass(frozen=True)
class Objects:
    """boxes (K, 4) float32 (xmin, ymin, xmax, ymax); about (K, 3): label, instance, difficult"""

    boxes: np.ndarray
    about: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)

    def seen_through(self, window: np.ndarray, emit: Any | None) -> Objects:
        """The objects in a window (xmin, ymin, xmax, ymax), relative to it and cut to it

        Those that fail the EmitConstraint, if there is one, or of which nothing is left, are out.
        """
        boxes = self.boxes
        kept = np.ones(len(boxes), bool) if emit is None else _emitted(boxes, window, emit)
        touches = (boxes[:, :2] < window[2:]).all(1) & (boxes[:, 2:] > window[:2]).all(1)
        size = np.tile(window[2:] - window[:2], 2)
        moved = ((boxes - np.tile(window[:2], 2)) / size).clip(0, 1).astype(np.float32)
        kept &= touches & (areas(moved) > 0)
        return Objects(moved[kept], self.about[kept])

    def mirrored(self) -> Objects:
        """Left and right exchanged."""
        xmin, ymin, xmax, ymax = self.boxes.T
        return Objects(np.stack((1 - xmax, ymin, 1 - xmin, ymax), 1), self.about)

    def rows(self, image: int) -> np.ndarray:
        """(K, 8) float32: image, label, instance, box, difficult"""
        label, instance, difficult = self.about.T
        return np.column_stack((np.full(len(self), image), label, instance, self.boxes,
                                difficult)).astype(np.float32)

    def centred(self, most: int) -> np.ndarray:
        """(1, most, 5) float32: label from 0, centre, width, height (YOLO); 0 behind the last"""
        found = np.zeros((1, most, 5), np.float32)
        low, high = self.boxes[:most, :2], self.boxes[:most, 2:]
        found[0, :len(low)] = np.column_stack((self.about[:most, 0] - 1, (low + high) / 2,
                                               high - low))
        return found

    def easy(self) -> Objects:
        """Those that are not difficult."""
        kept = self.about[:, 2] == 0
        return Objects(self.boxes[kept], self.about[kept])


def areas(boxes: np.ndarray) -> np.ndarray:
    """(..., 4) -> (...); 0 for boxes whose corners are the wrong way round"""
    return (boxes[..., 2:] - boxes[..., :2]).clip(0).prod(-1)


def shared_areas(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(..., 4), (..., 4) -> (...) how much of each box of a lies in that of b"""
    return (np.minimum(a[..., 2:], b[..., 2:])
            - np.maximum(a[..., :2], b[..., :2])).clip(0).prod(-1)


def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, 0 where the whole is 0. Arrays of shapes that broadcast."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _emitted(boxes: np.ndarray, window: np.ndarray, emit: Any) -> np.ndarray:
    if emit.emit_type == emit.CENTER:
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2
        return ((centre >= window[:2]) & (centre <= window[2:])).all(1)
    return share(shared_areas(boxes, window), areas(boxes)) > emit.emit_overlap


def parse_annotated(content: bytes, label: str, *,
                    color: bool | None = None) -> tuple[Record, Objects | None]:
    """Image and objects of a serialized AnnotatedDatum; no Objects if it has no annotation type

    Raises ValueError, its text beginning with `label`, if it is damaged or something else.
    """
    try:
        annotated = caffe_pb2.AnnotatedDatum.FromString(content)
    except DecodeError as error:
        raise ValueError(f"{label}: not an AnnotatedDatum, or damaged ({len(content)} bytes); "
                         f"convert_annoset writes them") from error
    if not annotated.HasField("datum"):
        raise ValueError(f"{label}: an AnnotatedDatum without an image; convert_annoset writes "
                         f"them (a Datum of convert_imageset is read by a Data layer)")
    record = record_of(annotated.datum, label, color=color)
    if not annotated.HasField("type"):
        return record, None
    found = [(group.group_label, each.instance_id, each.bbox)
             for group in annotated.annotation_group for each in group.annotation]
    boxes = np.array([(b.xmin, b.ymin, b.xmax, b.ymax) for _, _, b in found], np.float32)
    about = np.array([(name, instance, b.difficult) for name, instance, b in found], np.float32)
    return record, Objects(boxes.reshape(-1, 4), about.reshape(-1, 3))
