"""Do the settings fit a data set? What is found in it, and a rule that chooses those that do.

The rule is stated in docs/own_data.md. A side is sqrt(width * height) of a box; "scaled" is as the
net sees it, TRAIN.SCALES applied. A setting of the net's own stays where the rule asks for less.
Functions of arrays and settings, apart from mnc.commands.train_fitting, which reads and writes cfg.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mnc.boxes.anchors import generate_anchors
from mnc.config import cfg, value_of
from mnc.data.dataset import DataError, Dataset
from mnc.data.images import scale_for

MOST_IMAGES = 3000          # looked at, evenly over the data set
SIDE = 28                   # pixels that the median instance should have in the scaled image
SIDE_OF_PYRAMID = 24        # likewise, where the finest map has a stride of 4
MOST_ENLARGED = 2.5         # times the net's own scale, for time and memory
MOST_OF_IMAGE = 2           # times the image's own short side: more pixels tell nothing more
STEP = 2.2                  # at most, from an anchor's scale to the next
MOST_SCALES, MOST_PROPOSALS, MOST_ROIS = 6, 1000, 128
MOST_NAMES = 20             # of classes, in the log
ANCHORS_FIT = 0.65          # median best IoU from which the net's own anchors stay
SQUARE = 1.7                # height / width up to which squares do for a pyramid, or its inverse
HALF_OCTAVE = 2 ** 0.5      # from an anchor's scale to the next on a map of a pyramid
MANY = 12                   # instances in the image of the median instance, from which windows do
WINDOW = 0.5                # least share of a side that such a window keeps
ZOOM = (0.8, 1.4)           # of its scale
LARGER = 1.25               # of whole images in tests, where training zooms so
HALF = 0.5                  # share of the RoIs to train on that may be of instances
TOLERATED = 0.02            # share of the instances that may be lost to a limit without a warning


@dataclass(frozen=True, eq=False)
class Findings:
    """G instances (neither crowd nor difficult) in N images."""

    sizes: np.ndarray           # (N, 2) height, width of the images
    boxes: np.ndarray           # (G, 2) height, width of the boxes, in pixels of the image
    image: np.ndarray           # (G,) row of `sizes`
    labels: np.ndarray          # (G,)
    classes: tuple[str, ...]    # [0] is the background's
    images: int                 # in the whole data set
    growth: tuple[float, ...] = (1.0,)      # of anchors, from the first of the net's maps to each

    @classmethod
    def of(cls, dataset: Dataset) -> Findings:
        """Of the images that have an instance; raises DataError where none has."""
        step = -(-len(dataset) // MOST_IMAGES)
        sizes, boxes, labels = [], [], []
        for i in range(0, len(dataset), step):
            try:
                found = dataset.annotation(i)
                size = found.size or dataset.image(i).shape[:2]
            except DataError:
                continue                    # the training says so when it reads the data
            found = found.rows(~found.ignored)
            if len(found.labels):
                sizes.append(size)
                boxes.append(found.boxes[:, [3, 2]] - found.boxes[:, [1, 0]] + 1)
                labels.append(found.labels)
        if not sizes:
            raise DataError(f"{dataset.name}: no image with an instance to train on")
        return cls(np.array(sizes), np.concatenate(boxes).astype(float),
                   np.repeat(np.arange(len(sizes)), [len(each) for each in labels]),
                   np.concatenate(labels), dataset.classes, len(dataset))

    @property
    def counts(self) -> np.ndarray:
        """(N,) instances of each image."""
        return np.bincount(self.image, minlength=len(self.sizes))

    @property
    def crowded(self) -> bool:
        """Whether half of the instances are in images of MANY or more: windows have enough then.

        By instances, not by images: where many images hold one and some a hundred, it is in the
        latter that most of them are learnt and found.
        """
        return bool(np.median(self.counts[self.image]) >= MANY)

    @property
    def sides(self) -> np.ndarray:
        """(G,)"""
        return np.sqrt(self.boxes.prod(axis=1))

    @property
    def short_sides(self) -> np.ndarray:
        """(N,) of the images."""
        return self.sizes.min(axis=1)

    def scaled(self, settings: Mapping[str, Any]) -> np.ndarray:
        """(G, 2) height, width of the boxes in the scaled image."""
        short, most = int(np.median(settings["TRAIN.SCALES"])), settings["TRAIN.MAX_SIZE"]
        factors = np.array([scale_for(h, w, short, most) for h, w in self.sizes.tolist()])
        return self.boxes * factors[self.image, None]

    def best_overlaps(self, settings: Mapping[str, Any]) -> np.ndarray:
        """(G,) IoU of each instance with the anchor most like it, both about one centre."""
        boxes = self.scaled(settings)
        scales = np.outer(self.growth, settings["ANCHOR_SCALES"]).ravel()
        anchors = generate_anchors(ratios=settings["ANCHOR_RATIOS"], scales=scales.tolist())
        shapes = anchors[:, [3, 2]] - anchors[:, [1, 0]] + 1                   # (A, 2)
        best = np.zeros(len(boxes))
        for shape in shapes:
            common = np.minimum(boxes, shape).prod(axis=1)
            union = boxes.prod(axis=1) + shape.prod() - common
            best = np.maximum(best, common / union)
        return best


PHASES = ("TRAIN", "TEST")
KEYS = ("TRAIN.SCALES", "TRAIN.MAX_SIZE", "TEST.SCALES", "TEST.MAX_SIZE", "ANCHOR_SCALES",
        "ANCHOR_RATIOS", "TRAIN.RPN_MIN_SIZE", "TEST.RPN_MIN_SIZE", "TRAIN.RPN_POSITIVE_OVERLAP",
        "TRAIN.RPN_POST_NMS_TOP_N", "TEST.RPN_POST_NMS_TOP_N", "TRAIN.RPN_PRE_NMS_TOP_N",
        "TEST.RPN_PRE_NMS_TOP_N", "TRAIN.BATCH_SIZE", "TEST.MAX_PER_IMAGE", "TEST.MAX_PER_CLASS",
        "TRAIN.AUGMENT.CROP", "TRAIN.AUGMENT.SCALE", "TRAIN.FG_FRACTION")


def own_settings() -> dict[str, Any]:
    """What cfg says of KEYS."""
    return {key: value_of(key, cfg) for key in KEYS}


def fitted(found: Findings, own: Mapping[str, Any], fixed: Collection[str] = ()) -> dict[str, Any]:
    """The values by the rule, of KEYS that they change; those of `fixed` stay as they are.

    own: the values of KEYS that hold now, own_settings().
    """
    now = dict(own)
    fixed = {*fixed, *(f"{phase}.MAX_SIZE" for phase in PHASES if f"{phase}.SCALES" in fixed)}
    for rule in (_scales, _ratios, _anchors, _limits):
        now |= {key: value for key, value in rule(found, now) if key not in fixed}
    return {key: value for key, value in now.items() if value != own[key]}


Choices = Iterator[tuple[str, Any]]


def _scales(found: Findings, own: Mapping[str, Any]) -> Choices:
    share = np.median(found.sides / found.short_sides[found.image])
    side = SIDE_OF_PYRAMID if len(found.growth) > 1 else SIDE
    larger = {"TEST": LARGER} if found.crowded else {}
    for phase in PHASES:
        before = float(np.median(own[f"{phase}.SCALES"]))
        wanted = min(larger.get(phase, 1) * min(side / share, MOST_ENLARGED * before),
                     MOST_OF_IMAGE * float(np.median(found.short_sides)))
        if wanted > before:
            short = _rounded(wanted, 16)
            most = own[f"{phase}.MAX_SIZE"] * short / before
            yield f"{phase}.SCALES", type(own[f"{phase}.SCALES"])([short])
            yield f"{phase}.MAX_SIZE", round(most)


def _ratios(found: Findings, own: Mapping[str, Any]) -> Choices:
    low, middle, high = np.quantile(found.boxes[:, 0] / found.boxes[:, 1], (.1, .5, .9))
    if len(found.growth) > 1 and low >= 1 / SQUARE and high <= SQUARE:
        yield "ANCHOR_RATIOS", type(own["ANCHOR_RATIOS"])([1])
    elif low < min(own["ANCHOR_RATIOS"]) or high > max(own["ANCHOR_RATIOS"]):
        yield "ANCHOR_RATIOS", [_digits(value) for value in (low, middle, high)]


def _anchors(found: Findings, own: Mapping[str, Any]) -> Choices:
    if np.median(found.best_overlaps(own)) >= ANCHORS_FIT:
        return
    sides = np.sqrt(found.scaled(own).prod(axis=1))
    low, high = np.quantile(sides, (.05, .95)) / 16
    if len(found.growth) > 1:       # the maps double the first ones; two a map, or until they reach
        beyond = np.log(high / (low * found.growth[-1])) / np.log(HALF_OCTAVE)
        number = min(max(2, 1 + int(np.ceil(beyond - 0.5))), MOST_SCALES)
        yield "ANCHOR_SCALES", [_digits(low * HALF_OCTAVE ** i) for i in range(number)]
        return
    number = 1 + int(np.ceil(np.log(high / low) / np.log(STEP) - 1e-9))
    scales = [_digits(value) for value in np.geomspace(low, high, min(number, MOST_SCALES))]
    yield "ANCHOR_SCALES", scales


def _limits(found: Findings, own: Mapping[str, Any]) -> Choices:
    middle, many, most = np.quantile(found.counts, (.5, .95, .99))
    smallest = np.quantile(found.boxes.min(axis=1), .01)
    overlap = 0.05 * int(np.quantile(found.best_overlaps(own), .25) / 0.05)
    before = own["TRAIN.RPN_POSITIVE_OVERLAP"]
    yield "TRAIN.RPN_POSITIVE_OVERLAP", min(max(round(overlap, 2), 0.5), before)
    if found.crowded:
        yield "TRAIN.AUGMENT.CROP", min(own["TRAIN.AUGMENT.CROP"], WINDOW)
        yield "TRAIN.AUGMENT.SCALE", type(own["TRAIN.AUGMENT.SCALE"])(ZOOM)
        yield "TRAIN.FG_FRACTION", [HALF]
    yield "TRAIN.BATCH_SIZE", max(own["TRAIN.BATCH_SIZE"], min(_rounded(4 * middle, 16), MOST_ROIS))
    for phase in PHASES:
        yield f"{phase}.RPN_MIN_SIZE", min(own[f"{phase}.RPN_MIN_SIZE"],
                                           max(int(.75 * smallest), 1))
        proposals = max(own[f"{phase}.RPN_POST_NMS_TOP_N"],
                        min(_rounded(8 * many, 100), MOST_PROPOSALS))
        yield f"{phase}.RPN_POST_NMS_TOP_N", proposals
        yield f"{phase}.RPN_PRE_NMS_TOP_N", max(own[f"{phase}.RPN_PRE_NMS_TOP_N"], 5 * proposals)
    results = max(own["TEST.MAX_PER_IMAGE"], _rounded(2 * most, 50))
    yield "TEST.MAX_PER_IMAGE", results
    yield "TEST.MAX_PER_CLASS", max(own["TEST.MAX_PER_CLASS"], _rounded(.4 * results, 10))


def _rounded(value: float, unit: int) -> int:
    """To whole units."""
    return round(value / unit) * unit


def _digits(value: float) -> float:
    """To two digits."""
    return float(f"{value:.2g}")


# --- what is said of it --------------------------------------------------------------------------

def described(found: Findings, settings: Mapping[str, Any]) -> list[str]:
    """What is in the data, and what these settings make of it, a line each."""
    names = ", ".join(f"{name} {(found.labels == label).sum()}"
                      for label, name in list(enumerate(found.classes))[1:MOST_NAMES + 1])
    more = ", …" if len(found.classes) > MOST_NAMES + 1 else ""
    height, width = np.median(found.sizes, axis=0)
    low, middle, high = np.quantile(np.sqrt(found.scaled(settings).prod(axis=1)), (.05, .5, .95))
    counts = found.counts
    looked_at = f"{len(found.sizes)} of {found.images}"
    small = _below(found, settings["TRAIN.RPN_MIN_SIZE"])
    short = "/".join(str(scale) for scale in settings["TRAIN.SCALES"])
    return [
        f"data: {looked_at} images with instances, {width:.0f} x {height:.0f} in the median; "
        f"{len(found.labels)} instances: {names}{more}",
        f"data: sides scaled to a short side of {short}: {middle:.0f} pixels (5 % below "
        f"{low:.0f}, 5 % above {high:.0f})",
        f"data: best anchor's IoU {anchors_said(found, settings)}",
        f"data: {small:.1%} are smaller than RPN_MIN_SIZE {settings['TRAIN.RPN_MIN_SIZE']}",
        f"data: {np.median(counts):.0f} instances an image in the median, {counts.max()} at most; "
        f"{settings['TEST.RPN_POST_NMS_TOP_N']} proposals, {settings['TEST.MAX_PER_IMAGE']} "
        "results an image"]


def anchors_said(found: Findings, settings: Mapping[str, Any]) -> str:
    """How like the instances the anchors are."""
    overlaps = found.best_overlaps(settings)
    return (f"{np.median(overlaps):.2f} in the median, 0.5 or more for "
            f"{np.mean(overlaps >= .5):.0%} of the instances")


def misfits(found: Findings, settings: Mapping[str, Any]) -> list[str]:
    """What is lost with these settings, in words; nothing where they fit."""
    counts = found.counts
    most, proposals = settings["TEST.MAX_PER_IMAGE"], settings["TRAIN.RPN_POST_NMS_TOP_N"]
    unlike = np.mean(found.best_overlaps(settings) < .5)
    small = _below(found, settings["TRAIN.RPN_MIN_SIZE"])
    beyond = (counts - most).clip(0).sum() / counts.sum()
    crowded = np.mean(counts > proposals / 4)
    return [text for share, tolerated, text in (
        (unlike, .2, f"{unlike:.0%} of the instances are unlike every anchor (IoU below 0.5)"),
        (small, TOLERATED, f"{small:.0%} are smaller than RPN_MIN_SIZE and can never be found"),
        (beyond, TOLERATED, f"{beyond:.0%} are more than the {most} results of an image"),
        (crowded, TOLERATED, f"{crowded:.0%} of the images have an instance for every four "
                             f"proposals ({proposals}) or more")) if share > tolerated]


def _below(found: Findings, min_size: int) -> float:
    """The share of instances with a side below this."""
    return float(np.mean(found.boxes.min(axis=1) < min_size))


def as_flags(changes: Mapping[str, Any]) -> str:
    """--set KEY VALUE …, without spaces in values."""
    return "--set " + " ".join(f"{key} {str(plain(value)).replace(' ', '')}"
                               for key, value in changes.items())


def plain(value: Any) -> Any:
    """A tuple as a list."""
    return list(value) if isinstance(value, tuple) else value
