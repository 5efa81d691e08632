"""From an image to instances: what the test nets say, joined by mask voting or by NMS.

Alphabet: N results, K classes (0 = background), S mask side. `Detections` are a list over the K
classes of (boxes (n, 5) = x1 y1 x2 y2 score, masks (n, 1, S, S)) in pixels of the original image.

A net sees each image once for every entry of TEST.SCALES, and mirrored as well with
TEST.USE_FLIPPED; where a function takes `net`, it takes several, too. The results of all these
views, and of both passes of a five-stage net, go into one pool that voting or NMS then thins.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

import caffe
from mnc.boxes.nms import nms
from mnc.boxes.regression import bbox_transform_inv, clip_boxes
from mnc.config import PRECISIONS
from mnc.data.dataset import DataError
from mnc.data.images import prepare_image
from mnc.inference import workers
from mnc.inference.cfm import cfm_detect
from mnc.instances import InferenceError, Raw, as_list, blob_of, joined
from mnc.masks.voting import vote_masks, vote_masks_cpu

log = logging.getLogger("mnc")

READ = ("rois", "mask_proposal", "mask_prob", "seg_cls_prob", "cls_prob", "bbox_pred")
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


def load_net(prototxt: str | Path, weights: str | Path, precision: str = "fp32"):
    """The test net with its weights, named after the weight file, optimised."""
    weights = Path(weights)
    if not weights.exists():
        raise FileNotFoundError(f"{weights}: no such weight file")
    net = caffe.Net(str(prototxt), caffe.TEST)
    net.copy_from(str(weights), required=True)
    net.name = weights.name.removesuffix(".h5").removesuffix(".caffemodel")
    optimize(net, precision)
    return net


def optimize(net, precision: str = "fp32") -> None:
    """Let a test net compute no more than the blobs that are read here, in one of PRECISIONS."""
    if precision not in PRECISIONS:
        raise InferenceError(f"precision {precision!r} (TEST.PRECISION, --precision): it is one of "
                             f"{', '.join(PRECISIONS)}")
    names = (f"{name}{suffix}" for name in READ for suffix in ("", "_ext"))
    net.optimize([name for name in names if name in net.blobs],
                 precision="bfloat16" if precision == "bf16" else None)


# --- an image through a net ----------------------------------------------------------------------

def run_net(net, image: np.ndarray, cfg, short_side: int | None = None) -> float:
    """Forward of one BGR image (H, W, 3) at a scale (the first of TEST.SCALES); the factor."""
    scaled, scale = prepare_image(image, cfg.PIXEL_MEANS, short_side or cfg.TEST.SCALES[0],
                                  cfg.TEST.MAX_SIZE)
    data = np.ascontiguousarray(scaled.transpose(2, 0, 1)[None], np.float32)        # (1, 3, h, w)
    im_info = np.array([[*data.shape[2:], scale]], np.float32)
    for name, value in (("data", data), ("im_info", im_info)):
        blob_of(net, name).reshape(*value.shape)
    net.forward(data=data, im_info=im_info)
    return scale


Read = Callable[[object, float, tuple[int, int]], Raw]


def pooled(net, image: np.ndarray, cfg, read: Read) -> Raw:
    """`read` after each net has seen each view of the image, all in one."""
    mirrorings = (False, True) if cfg.TEST.USE_FLIPPED else (False,)
    found = []
    for one, short_side, mirrored in itertools.product(as_list(net), cfg.TEST.SCALES, mirrorings):
        view = image[:, ::-1] if mirrored else image
        raw = read(one, run_net(one, view, cfg, short_side), image.shape[:2])
        found.append(raw.mirrored(image.shape[1]) if mirrored else raw)
    return joined(found)


def im_detect(net, image: np.ndarray, cfg) -> Raw:
    """Boxes, masks and class scores of the three-stage or five-stage net, of every pass."""
    return pooled(net, image, cfg, read_raw)


def read_raw(net, scale: float, image_size: tuple[int, int]) -> Raw:
    """What the last forward left in the blobs; image_size is (height, width) before scaling."""
    boxes, masks, scores = (
        np.concatenate([blob_of(net, f"{name}{suffix}").data for suffix in passes(net)])
        for name in ("rois", "mask_proposal", "seg_cls_prob"))
    return Raw(clip_boxes(boxes[:, 1:5] / np.float32(scale), image_size)[0], masks, scores)


def passes(net) -> tuple[str, ...]:
    """Suffixes of the blobs of each pass: stages 2 and 3, and 4 and 5 where the net has them."""
    return ("", "_ext") if "rois_ext" in net.blobs else ("",)


def read_boxes(net, scale: float, image_size: tuple[int, int], suffixes: Sequence[str],
               cfg) -> Raw:
    """Boxes (R, 4K) as regressed and scored after the passes, or the RoIs themselves (R, 4) where
    cfg.TEST.BBOX_REG is off; no masks."""
    parts = []
    for s in suffixes:
        rois = blob_of(net, f"rois{s}").data[:, 1:5] / np.float32(scale)            # (R, 4)
        deltas = blob_of(net, f"bbox_pred{s}").data
        moved = bbox_transform_inv(rois, deltas) if cfg.TEST.BBOX_REG else rois
        boxes, _ = clip_boxes(moved, image_size)
        scores = blob_of(net, f"cls_prob{s}").data.copy()
        parts.append(Raw(boxes, np.zeros((len(rois), 1, 0, 0), np.float32), scores))
    return joined(parts)


# --- one image -----------------------------------------------------------------------------------

def segment_image(net, image: np.ndarray, cfg) -> Detections:
    """Instances of one image: by mask voting, or by NMS where cfg.TEST.USE_MASK_MERGE is off."""
    raw = im_detect(net, image, cfg)
    if not cfg.TEST.USE_MASK_MERGE:
        return suppress(best_of(raw), cfg)
    vote = partial(vote_masks, device=as_list(net)[0].device) if cfg.TEST.USE_GPU_MASK_MERGE \
        else vote_masks_cpu
    voted = vote(raw.boxes, raw.masks, raw.scores, raw.scores.shape[1], MAX_PER_IMAGE,
                 image.shape[1], image.shape[0], cfg.TEST.MASK_MERGE_NMS_THRESH,
                 cfg.TEST.MASK_MERGE_IOU_THRESH,
                 cfg.BINARIZE_THRESH, inclusive_nms=not cfg.USE_GPU_NMS)
    return [(boxes, masks) for masks, boxes in voted]


def detect_boxes(net, image: np.ndarray, cfg) -> Detections:
    """Boxes as stage 3 regresses and scores them, best first, before NMS; masks are empty.

    With TEST.DET_STAGE5 stage 5's are among them.
    """
    def read(one, scale: float, image_size: tuple[int, int]) -> Raw:
        suffixes = passes(one) if cfg.TEST.DET_STAGE5 else ("",)
        return read_boxes(one, scale, image_size, suffixes, cfg)

    return best_of(pooled(net, image, cfg, read))


# --- results without voting ----------------------------------------------------------------------

def best_of(raw: Raw) -> Detections:
    """Per class the MAX_PER_IMAGE results of the highest scores; none of the background."""
    found = []
    for label, scores in enumerate(raw.scores.T):
        order = np.argsort(-scores, kind="stable")[:MAX_PER_IMAGE if label else 0]
        first = 0 if raw.boxes.shape[1] == 4 else 4 * label
        boxes = raw.boxes[order, first:first + 4]
        found.append((np.hstack((boxes, scores[order, None])), raw.masks[order]))
    return found


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
            self.value = max(self.value, heapq.heappop(self._best))


# --- whole data sets -----------------------------------------------------------------------------

TASKS = ("seg", "det", "cfm", "vis_seg")


def test_dataset(net, dataset, cfg, task: str = "seg",
                 proposals=None) -> list[list[tuple[np.ndarray, np.ndarray]]]:
    """detections[c][i] = (boxes (n, 5), masks (n, 1, S, S)); with task 'det' masks are empty.

    Task 'cfm' needs proposals(i) -> mnc.inference.cfm.Proposals of image i.
    """
    found = test_images(net, dataset, range(len(dataset)), cfg, task, proposals)
    return of_the_set([detections for _, detections in found], cfg, task)


def test_images(net, dataset, indices: Sequence[int], cfg, task: str = "seg",
                proposals=None) -> Iterator[tuple[int, Detections]]:
    """(i, what is found in image i), one by one; `of_the_set` makes the result of all images of it.

    An image that cannot be read costs only itself.
    """
    detect = _detector(net, cfg, task, proposals)
    side = 0 if task == "det" else cfg.MASK_SIZE
    nothing = [(np.zeros((0, 5)), np.zeros((0, 1, side, side), np.float32))] * len(dataset.classes)
    floors = [ScoreFloor(MAX_PER_CLASS * len(dataset)) for _ in dataset.classes]
    hidden = workers.rank() > 0 or not sys.stderr.isatty()
    for i in tqdm(indices, desc=f"testing on {dataset.name}", unit="image", disable=hidden):
        try:
            found = detect(i, dataset.image(i))
        except DataError as error:
            log.warning("%s; counted as an image in which nothing was found", error)
            found = nothing
        if is_capped(cfg, task):
            found = _above(found, floors)               # no need to hold what cannot stay
            _update(floors, found)
        yield i, found


def _detector(net, cfg, task: str, proposals) -> Callable[[int, np.ndarray], Detections]:
    if task == "cfm":
        return lambda i, image: best_of(cfm_detect(net, image, proposals(i), cfg))
    if task == "det":
        return lambda i, image: detect_boxes(net, image, cfg)
    if cfg.TEST.USE_MASK_MERGE:
        return lambda i, image: segment_image(net, image, cfg)
    return lambda i, image: best_of(im_detect(net, image, cfg))


def of_the_set(found: Sequence[Detections], cfg, task: str) -> list[Detections]:
    """detections[c][i] of what `test_images` found in each image, whatever its order was.

    Without voting these are the best MAX_PER_CLASS x images detections of each class, less what
    NMS takes in each image.
    """
    if is_capped(cfg, task):
        floors = [ScoreFloor(MAX_PER_CLASS * len(found)) for _ in found[0]]
        for detections in found:
            _update(floors, detections)
        found = [suppress(_above(detections, floors), cfg) for detections in found]
    return [list(per_class) for per_class in zip(*found)]


def is_capped(cfg, task: str) -> bool:
    """Whether a class has a limit over the whole set."""
    return task in ("det", "cfm") or not cfg.TEST.USE_MASK_MERGE


def _update(floors: list[ScoreFloor], found: Detections) -> None:
    for floor, (boxes, _) in zip(floors, found):
        floor.update(boxes[:, 4])


def _above(found: Detections, floors: list[ScoreFloor]) -> Detections:
    kept = [boxes[:, 4] > floor.value for (boxes, _), floor in zip(found, floors)]
    return [(boxes[k], masks[k]) for (boxes, masks), k in zip(found, kept)]
