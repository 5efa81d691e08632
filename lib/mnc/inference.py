"""From an image to instances: the test net's two passes, joined by mask voting or by NMS.

Alphabet: N results of both passes, K classes (0 = background), S mask side. `Detections` are a
list over the K classes of (boxes (n, 5) = x1 y1 x2 y2 score, masks (n, 1, S, S)) in pixels of the
original image.
"""

from __future__ import annotations

import heapq
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

import caffe
from mnc.boxes.nms import nms
from mnc.boxes.regression import bbox_transform_inv, clip_boxes
from mnc.data.images import prepare_image
from mnc.masks.voting import vote_masks, vote_masks_cpu

MAX_PER_IMAGE = 100          # results of an image, over all classes
MAX_PER_CLASS = 40           # detections of a class, times the number of images, without voting

Detections = list[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Instances:
    """What is seen in one image, best score first."""

    boxes: np.ndarray        # (N, 5) x1 y1 x2 y2 score
    masks: np.ndarray        # (N, S, S) in 0..1, over the box
    labels: np.ndarray       # (N,) in 1..K-1

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def from_detections(cls, detections: Detections, score: float = 0.0) -> Instances:
        """All detections with at least `score`."""
        boxes = np.concatenate([b for b, _ in detections])
        masks = np.concatenate([m for _, m in detections])
        labels = np.repeat(np.arange(len(detections)), [len(b) for b, _ in detections])
        order = np.argsort(-boxes[:, 4], kind="stable")
        order = order[boxes[order, 4] >= score]
        return cls(boxes[order], masks[order, 0], labels[order])


@dataclass(frozen=True)
class Raw:
    """The net's output before any suppression, pass one before pass two."""

    boxes: np.ndarray        # (N, 4), inside the image
    masks: np.ndarray        # (N, 1, S, S)
    scores: np.ndarray       # (N, K)


def load_net(prototxt: str | Path, weights: str | Path):
    """The test net with its weights, named after the weight file."""
    weights = Path(weights)
    if not weights.exists():
        raise FileNotFoundError(f"{weights}: no such weight file")
    net = caffe.Net(str(prototxt), str(weights), caffe.TEST)
    net.name = weights.name.removesuffix(".h5").removesuffix(".caffemodel")
    return net


def run_net(net, image: np.ndarray, cfg) -> float:
    """Forward of one BGR image (H, W, 3) at the test scale; returns the scale."""
    scaled, scale = prepare_image(image, cfg.PIXEL_MEANS, cfg.TEST.SCALES[0], cfg.TEST.MAX_SIZE)
    data = np.ascontiguousarray(scaled.transpose(2, 0, 1)[None], np.float32)        # (1, 3, h, w)
    im_info = np.array([[*data.shape[2:], scale]], np.float32)
    for name, value in (("data", data), ("im_info", im_info)):
        net.blobs[name].reshape(*value.shape)
    net.forward(data=data, im_info=im_info)
    return scale


def im_detect(net, image: np.ndarray, cfg) -> Raw:
    """Boxes, masks and class scores of both passes of the five-stage net."""
    return read_raw(net, run_net(net, image, cfg), image.shape[:2])


def read_raw(net, scale: float, image_size: tuple[int, int]) -> Raw:
    """What the last forward left in the blobs; image_size is (height, width) before scaling."""
    boxes, masks, scores = (
        np.concatenate([net.blobs[f"{name}{suffix}"].data for suffix in ("", "_ext")])
        for name in ("rois", "mask_proposal", "seg_cls_prob"))
    return Raw(clip_boxes(boxes[:, 1:5] / np.float32(scale), image_size)[0], masks, scores)


def segment_image(net, image: np.ndarray, cfg) -> Detections:
    """Instances of one image: by mask voting, or by NMS where cfg.TEST.USE_MASK_MERGE is off."""
    raw = im_detect(net, image, cfg)
    if not cfg.TEST.USE_MASK_MERGE:
        return suppress(best_masks(raw), cfg)
    vote = vote_masks if cfg.TEST.USE_GPU_MASK_MERGE else vote_masks_cpu
    voted = vote(raw.boxes, raw.masks, raw.scores, raw.scores.shape[1], MAX_PER_IMAGE,
                 image.shape[1], image.shape[0], cfg.TEST.MASK_MERGE_NMS_THRESH,
                 cfg.TEST.MASK_MERGE_IOU_THRESH,
                 cfg.BINARIZE_THRESH, inclusive_nms=not cfg.USE_GPU_NMS)
    return [(boxes, masks) for masks, boxes in voted]


def detect_boxes(net, image: np.ndarray, cfg) -> Detections:
    """Boxes as stage 3 regresses and scores them, best first, before NMS; masks are empty."""
    scale = run_net(net, image, cfg)
    rois = net.blobs["rois"].data[:, 1:5] / np.float32(scale)                       # (R, 4)
    boxes, _ = clip_boxes(bbox_transform_inv(rois, net.blobs["bbox_pred"].data), image.shape[:2])
    no_masks = np.zeros((len(rois), 1, 0, 0), np.float32)
    return [_best(boxes[:, 4 * label:4 * label + 4], no_masks, scores, label)
            for label, scores in enumerate(net.blobs["cls_prob"].data.T)]


# --- results without voting ----------------------------------------------------------------------

def best_masks(raw: Raw) -> Detections:
    """Per class the MAX_PER_IMAGE results of the highest scores."""
    return [_best(raw.boxes, raw.masks, scores, label) for label, scores in enumerate(raw.scores.T)]


def _best(boxes: np.ndarray, masks: np.ndarray, scores: np.ndarray,
          label: int) -> tuple[np.ndarray, np.ndarray]:
    limit = MAX_PER_IMAGE if label else 0                       # none of the background
    order = np.argsort(-scores, kind="stable")[:limit]
    return np.hstack((boxes[order], scores[order, None])), masks[order]


def suppress(found: Detections, cfg) -> Detections:
    """NMS class by class."""
    kept = [nms(boxes, cfg.TEST.NMS, inclusive=not cfg.USE_GPU_NMS) for boxes, _ in found]
    return [(boxes[k], masks[k]) for (boxes, masks), k in zip(found, kept)]


class ScoreFloor:
    """The score to exceed for a place among the best `limit` of a class, over all images so far."""

    def __init__(self, limit: int):
        self.limit = limit
        self.value = -np.inf
        self._best: list[float] = []

    def update(self, scores: np.ndarray) -> None:
        for score in scores:
            heapq.heappush(self._best, float(score))
        while len(self._best) > self.limit:
            self.value = heapq.heappop(self._best)


# --- whole data sets -----------------------------------------------------------------------------

TASKS = ("seg", "det", "vis_seg")


def test_dataset(net, dataset, cfg, task: str = "seg") -> list[list[tuple[np.ndarray, np.ndarray]]]:
    """detections[c][i] = (boxes (n, 5), masks (n, 1, S, S)); with task 'det' masks are empty."""
    if task != "det" and cfg.TEST.USE_MASK_MERGE:
        found = [segment_image(net, image, cfg) for image in _images(dataset)]
    else:
        found = _capped(net, dataset, cfg, detect_boxes if task == "det" else _unsuppressed)
    return [list(per_class) for per_class in zip(*found)]


def _unsuppressed(net, image: np.ndarray, cfg) -> Detections:
    return best_masks(im_detect(net, image, cfg))


def _capped(net, dataset, cfg, detect: Callable[..., Detections]) -> list[Detections]:
    """The best MAX_PER_CLASS x images detections of each class, then NMS image by image."""
    floors = [ScoreFloor(MAX_PER_CLASS * len(dataset)) for _ in dataset.classes]
    found = []
    for image in _images(dataset):
        found.append(_above(detect(net, image, cfg), floors))
        for floor, (boxes, _) in zip(floors, found[-1]):
            floor.update(boxes[:, 4])
    return [suppress(_above(detections, floors), cfg) for detections in found]


def _above(found: Detections, floors: list[ScoreFloor]) -> Detections:
    kept = [boxes[:, 4] > floor.value for (boxes, _), floor in zip(found, floors)]
    return [(boxes[k], masks[k]) for (boxes, masks), k in zip(found, kept)]


def _images(dataset) -> Iterator[np.ndarray]:
    hidden = not sys.stderr.isatty()
    for i in tqdm(range(len(dataset)), desc=f"testing on {dataset.name}", unit="image",
                  disable=hidden):
        yield dataset.image(i)
