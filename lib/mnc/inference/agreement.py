"""Whether a file finds in images what the net finds: for mnc.commands.export."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

import caffe
from mnc.inference.cascade import segment_image
from mnc.inference.onnx_model import Facts, as_instances, prepared
from mnc.inference.settings import TestSettings
from mnc.instances import InferenceError, Instances

MOST_SHIFT, LEAST_OVERLAP = 0.1, 0.99       # pixels of a box's corner; IoU of masks
LEAST_SCORE, MOST_SCORE_SHIFT = 0.3, 1e-3   # of the instances compared

Run = Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]


class Agreement:
    """The instances of the net in some images, and how far those of a file are from them.

    Instances of a score of LEAST_SCORE and more are compared: labels, number, boxes, masks.
    """

    def __init__(self, net: caffe.Net, settings: TestSettings, images: Sequence[np.ndarray],
                 facts: Facts) -> None:
        """images: (H, W, 3) BGR each; the net sees each of them now."""
        self.images, self.facts, self.binarize = images, facts, settings.mask.threshold
        self.expected = [Instances.from_detections(segment_image(net, image, settings))
                         for image in images]
        self.compared, self.shift, self.overlap = 0, 0.0, 1.0

    def hold(self, run: Run) -> None:
        """Raises InferenceError if the file finds other instances in an image."""
        for number, (image, wanted) in enumerate(zip(self.images, self.expected), 1):
            given = {name: torch.from_numpy(value)
                     for name, value in prepared(image, self.facts).items()}
            found = run(given)
            self._compare(number, as_instances([found[name].detach().numpy() for name in (
                "boxes", "masks", "labels", "scores")]), wanted)

    @property
    def said(self) -> str:
        """In a sentence."""
        return (f"{self.compared} instances in {len(self.images)} images, as the net finds them: "
                f"boxes within {self.shift:.2g} pixels, masks with an IoU of {self.overlap:.4f} "
                "and more")

    def _compare(self, number: int, found: Instances, wanted: Instances) -> None:
        rows, others = (np.flatnonzero(each.boxes[:, 4] >= LEAST_SCORE).tolist()
                        for each in (found, wanted))
        if abs(len(rows) - len(others)) == 1:       # one of a score right at the limit
            rows, others = (r[:min(len(rows), len(others))] for r in (rows, others))
        same = len(rows) == len(others) and np.array_equal(
            np.sort(found.labels[rows]), np.sort(wanted.labels[others]))
        if not same:
            raise InferenceError(f"image {number}: the file finds {len(rows)} instances of a score "
                                 f"of {LEAST_SCORE} and more, the net {len(others)}; nothing was "
                                 "written")
        taken: set[int] = set()
        for row in rows:
            own = [i for i in others if i not in taken and wanted.labels[i] == found.labels[row]]
            taken.add(self._match(number, found.boxes[row], found.masks[row], wanted, own))

    def _match(self, number: int, box: np.ndarray, mask: np.ndarray, wanted: Instances,
               own: Sequence[int]) -> int:
        """Which of the net's instances `own`, of the same class, is nearest to one of the file."""
        shifts = [np.abs(wanted.boxes[i, :4] - box[:4]).max() for i in own]
        best = own[int(np.argmin(shifts))]
        a, b = (each >= self.binarize for each in (mask, wanted.masks[best]))
        overlap = float((a & b).sum() / (a | b).sum()) if (a | b).any() else 1.0
        self.compared += 1
        self.shift, self.overlap = max(self.shift, float(min(shifts))), min(self.overlap, overlap)
        apart = abs(wanted.boxes[best, 4] - box[4])
        if min(shifts) > MOST_SHIFT or overlap < LEAST_OVERLAP or apart > MOST_SCORE_SHIFT:
            raise InferenceError(f"image {number}: an instance of class {wanted.labels[best]} is "
                                 f"{min(shifts):.3g} pixels from the net's, mask IoU {overlap:.3f},"
                                 f" score {apart:.3g} apart; nothing was written")
        return best
