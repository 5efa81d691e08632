"""Whether a file finds in images what the net finds: for mnc.commands.export."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

import caffe
from mnc.inference.cascade import detect_boxes, segment_image
from mnc.inference.onnx_model import Facts, as_instances, prepared
from mnc.inference.selection import suppress
from mnc.inference.settings import TestSettings
from mnc.inference.whole import settings_in_file
from mnc.instances import ImageDetections, InferenceError, Instances

MOST_SHIFT, LEAST_OVERLAP = 0.1, 0.99       # pixels of a box's corner; IoU of masks
LEAST_SCORE, MOST_SCORE_SHIFT = 0.3, 1e-3   # of the instances compared
AT_LEAST = 10                               # are compared, were their scores lower

Run = Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]


class Agreement:
    """What the net finds in some images, and how far what a file finds is from it.

    Compared are the instances of a score of LEAST_SCORE and more, or, of a net that is less sure,
    the best: labels, number, boxes, masks where there are any.
    """

    def __init__(self, net: caffe.Net, settings: TestSettings, images: Sequence[np.ndarray],
                 facts: Facts, task: str = "seg") -> None:
        """images: (H, W, 3) BGR each; the net sees each of them now. Raises InferenceError where
        it finds nothing in any.
        """
        self.images, self.facts, self.binarize = images, facts, settings.mask.threshold
        seen = settings_in_file(settings)
        self.expected = [Instances.from_detections(_found(net, image, seen, task))
                         for image in images]
        scores = np.sort(np.concatenate([each.boxes[:, 4] for each in self.expected]))[::-1]
        if not len(scores):
            raise InferenceError("the net finds nothing in the images that the file would be "
                                 "compared on; name others: --check IMG")
        self.least = min(LEAST_SCORE, float(scores[:AT_LEAST][-1]))
        self.compared, self.shift, self.overlap = 0, 0.0, 1.0

    def hold(self, run: Run) -> None:
        """Raises InferenceError if the file finds other instances in an image."""
        for number, (image, wanted) in enumerate(zip(self.images, self.expected), 1):
            given = {name: torch.from_numpy(value)
                     for name, value in prepared(image, self.facts).items()}
            found = run(given)
            self._compare(number, as_instances({name: value.detach().numpy() for name, value in
                                                found.items()}), wanted)

    @property
    def said(self) -> str:
        """In a sentence."""
        kind = "instances" if self.expected[0].masks.size else "boxes"
        sure = "" if self.least == LEAST_SCORE else f" of a score of {self.least:.2g} and more"
        masks = f", masks with an IoU of {self.overlap:.4f} and more" if kind != "boxes" else ""
        return (f"{self.compared} {kind}{sure} in {len(self.images)} images, as the net finds "
                f"them: boxes within {self.shift:.2g} pixels{masks}")

    def _compare(self, number: int, found: Instances, wanted: Instances) -> None:
        """Each of the one is among the other; right at the least score it may be missing there."""
        pairs: dict[int, int] = {}
        for row in np.flatnonzero(found.boxes[:, 4] >= self.least).tolist():
            own = [i for i in range(len(wanted)) if i not in pairs.values()
                   and wanted.labels[i] == found.labels[row]
                   and wanted.boxes[i, 4] >= self.least - MOST_SCORE_SHIFT]
            sure = found.boxes[row, 4] >= self.least + MOST_SCORE_SHIFT
            if own:
                pairs[row] = self._match(number, found.boxes[row], found.masks[row], wanted, own)
            elif sure:
                self._other(number, found, wanted)
        clear = np.flatnonzero(wanted.boxes[:, 4] >= self.least + MOST_SCORE_SHIFT)
        if not set(clear.tolist()) <= set(pairs.values()):
            self._other(number, found, wanted)

    def _other(self, number: int, found: Instances, wanted: Instances) -> None:
        counts = [int((each.boxes[:, 4] >= self.least).sum()) for each in (found, wanted)]
        raise InferenceError(f"image {number}: the file finds {counts[0]} instances of a score of "
                             f"{self.least:.2g} and more, the net {counts[1]}, or others; nothing "
                             "was written")

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


def _found(net: caffe.Net, image: np.ndarray, settings: TestSettings, task: str) -> ImageDetections:
    if task == "seg":
        return segment_image(net, image, settings)
    return suppress(detect_boxes(net, image, settings), settings.nms, settings.inclusive)
