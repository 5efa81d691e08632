"""Files of detections, as the evaluation programs of VOC, COCO and ILSVRC read them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from caffe.data.label_map import read_label_map
from caffe.layer_types.ssd.output_boxes import read_name_sizes, to_pixels


@dataclass(frozen=True)
class Found:
    """One detection: x, y, width and height in pixels, to two decimals."""

    image: str
    label: int
    score: float
    box: list[float]

    @property
    def corners(self) -> list[int]:
        """x1, y1, x2, y2 with x, y, width and height cut to whole pixels."""
        x, y, width, height = map(int, self.box)
        return [x, y, x + width, y + height]


class DetectionFiles:
    """Collects what is found image by image; writes when all images of the set have been seen.

    options: a SaveOutputParameter with output_directory, label_map_file and name_size_file.
    Raises ValueError or OSError if the files they name cannot be used.
    """

    def __init__(self, options: Any, background: int) -> None:
        self.options, self.background = options, background
        self.names = read_label_map(options.label_map_file)
        self.images = read_name_sizes(options.name_size_file)
        if options.HasField("num_test_image"):
            self.images = self.images[:options.num_test_image]
        if options.output_format not in WRITERS:
            raise ValueError(f'save_output_param.output_format "{options.output_format}": one of '
                             f"{', '.join(WRITERS)}")
        self.resize = options.resize_param if options.HasField("resize_param") else None
        self._seen, self._found = 0, list[Any]()

    def add_image(self, rows: np.ndarray) -> None:
        """rows (K, 6): label, score and box of each detection of the next image."""
        name, size = self.images[self._seen]
        corners = to_pixels(rows[:, 2:], size, self.resize).astype(np.float64)
        boxes = np.hstack((corners[:, :2], corners[:, 2:] - corners[:, :2])).round(2)
        for row, box in zip(rows, boxes):
            label = int(row[0])
            if label not in self.names:
                raise ValueError(f"{self.options.label_map_file}: has no label {label}")
            self._found.append(Found(name, label, float(row[1]), box.tolist()))
        self._seen += 1
        if self._seen == len(self.images):
            self.write()

    def write(self) -> None:
        """Write what was collected; the next image is the first again."""
        folder = Path(self.options.output_directory)
        folder.mkdir(parents=True, exist_ok=True)
        names = {k: name for k, name in self.names.items() if k != self.background}
        prefix = str(folder / self.options.output_name_prefix)
        WRITERS[self.options.output_format](prefix, self._found, names)
        self._seen, self._found = 0, []


def _voc(prefix: str, found: list[Found], names: dict[int, str]) -> None:
    """A file for each class with lines: name score x1 y1 x2 y2; a slash of the class is _ there"""
    for label, name in names.items():
        lines = [f"{f.image} {f.score:g} {' '.join(map(str, f.corners))}\n"
                 for f in found if f.label == label]
        Path(f"{prefix}{name.replace('/', '_')}.txt").write_text("".join(lines))


def _ilsvrc(prefix: str, found: list[Found], names: dict[int, str]) -> None:
    """One file with lines: name label score x1 y1 x2 y2"""
    Path(f"{prefix}.txt").write_text("".join(
        f"{f.image} {f.label} {f.score:g} {' '.join(map(str, f.corners))}\n" for f in found))


def _coco(prefix: str, found: list[Found], names: dict[int, str]) -> None:
    """One JSON list; category_id is the label map's name, image_id the image's, as numbers if so"""
    Path(f"{prefix}.json").write_text(json.dumps(
        [{"image_id": _number(f.image), "category_id": _number(names[f.label]), "bbox": f.box,
          "score": f.score} for f in found], indent=1))


def _number(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


WRITERS = {"VOC": _voc, "COCO": _coco, "ILSVRC": _ilsvrc}
