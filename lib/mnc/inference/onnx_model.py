"""A file that `mnc export` wrote, run by onnxruntime: no net of the engine is made.

Read by mnc.commands.demo and mnc.commands.export.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from caffe.export import session_of
from caffe.extend import parse_json
from mnc.data.images import prepare_image
from mnc.instances import InferenceError, Instances


@dataclass(frozen=True)
class Facts:
    """What the file says of the net in it."""

    classes: tuple[str, ...]        # the background's first
    pixel_means: tuple[float, ...]
    short_side: int
    longest_side: int
    binarize: float


class OnnxModel:
    """The instances of images, by the file alone."""

    def __init__(self, path: str | Path) -> None:
        """Raises InferenceError for a file that `mnc export` did not write."""
        if not Path(path).is_file():
            raise InferenceError(f"{path}: no such file")
        self.session = session_of(path)
        text = self.session.get_modelmeta().custom_metadata_map.get("mnc", "")
        try:
            facts = parse_json(text.encode())
            self.facts = Facts(tuple(map(str, facts["classes"])),
                               tuple(map(float, facts["pixel_means"])), int(facts["short_side"]),
                               int(facts["longest_side"]), float(facts["binarize"]))
        except (ValueError, KeyError, TypeError) as error:
            raise InferenceError(f"{path}: `mnc export` did not write this file: it does not say "
                                 f"how images are prepared for it") from error

    def instances(self, image: np.ndarray, score: float = 0.0) -> Instances:
        """Those of a BGR image (H, W, 3) uint8 with at least this score."""
        names = [each.name for each in self.session.get_outputs()]
        return as_instances(dict(zip(names, self.session.run(None, prepared(image, self.facts)))),
                            score)


def prepared(image: np.ndarray, facts: Facts) -> dict[str, np.ndarray]:
    """The inputs of the file for a BGR image (H, W, 3)."""
    scaled, scale = prepare_image(image, np.array(facts.pixel_means), facts.short_side,
                                  facts.longest_side)
    data = np.ascontiguousarray(scaled.transpose(2, 0, 1)[None], np.float32)
    return {"data": data, "im_info": np.array([[*data.shape[2:], scale]], np.float32),
            "image_size": np.array(image.shape[:2], np.int64)}


def as_instances(found: Mapping[str, np.ndarray], least: float = 0.0) -> Instances:
    """boxes (n, 4), masks (n, S, S) where there are any, labels (n,), scores (n,), of scores of at
    least `least`.
    """
    boxes, labels, scores = found["boxes"], found["labels"], found["scores"]
    masks = found.get("masks", np.zeros((len(boxes), 0, 0), np.float32))
    kept = scores >= least
    rows = np.hstack((boxes, scores[:, None]))[kept].astype(np.float64)
    return Instances(rows, masks[kept], labels[kept])
