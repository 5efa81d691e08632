"""Published figures to compare with, in percent, by data set.

Collected from the papers' tables as later papers and public repositories cite them; figures for
which only one source could be found are left out. A table to be checked against papers, apart from
mnc.commands.compare, which prints it.
"""

from __future__ import annotations

from dataclasses import dataclass

R5, R7, B5 = "mAP^r@0.5", "mAP^r@0.7", "mAP^b@0.5"
COCO_R, COCO_R5 = "COCO mAP^r@[.5:.95]", "COCO mAP^r@.5"


@dataclass(frozen=True)
class Published:
    """One row: what was measured on which data, and the seconds an image took where known."""

    method: str
    data: str
    figures: dict[str, float]
    seconds: str = ""


def _rows(data: str, *rows: tuple) -> tuple[Published, ...]:
    return tuple(Published(row[0], data, *row[1:]) for row in rows)


# Training schemes of the cascade with VGG-16, always tested in five stages.
ABLATION = _rows(
    "voc_2012_seg_val",
    ("MNC (a) step by step, separate nets", {R5: 60.2}),
    ("MNC (b) step by step, shared features", {R5: 60.5}),
    ("MNC (c) end to end, 3 stages", {R5: 62.6}),
    ("MNC (d) end to end, 5 stages", {R5: 63.5}))

MASKS = _rows(
    "voc_2012_seg_val",
    ("SDS (AlexNet)", {R5: 49.7, R7: 25.3}, "48"),
    ("Hypercolumn", {R5: 60.0, R7: 40.4}, "> 80"),
    ("CFM", {R5: 60.7, R7: 39.6}, "32"),
    ("CFM, public MNC code", {R5: 60.5, R7: 42.6}),
    ("MNC, paper", {R5: 63.5, R7: 41.5}, "0.36 (K40)"),
    ("MNC, public code", {R5: 65.0, R7: 46.3}, "0.42 (K40), 0.33 (Titan X)"),
    ('"naive MNC" of the FCIS paper, ResNet-101', {R5: 59.1, R7: 36.0}),
    ("FCIS, ResNet-101", {R5: 66.0, R7: 51.9}, "0.23"))

BOXES = _rows(
    "voc_2012_test",
    ("Fast R-CNN, trained on 12", {B5: 65.7}),
    ("Faster R-CNN, trained on 12", {B5: 67.0}),
    ("MNC, tight boxes of masks, trained on 12", {B5: 70.9}),
    ("MNC, regressed boxes, trained on 12", {B5: 73.5}),
    ("MNC, regressed boxes, trained on 07+12", {B5: 75.9}))

COCO = _rows(
    "coco_2015_test-dev",
    ("MNC, VGG-16", {COCO_R: 19.5, COCO_R5: 39.7}),
    ("MNC, ResNet-101", {COCO_R: 24.6, COCO_R5: 44.3}))

CHALLENGE = _rows(
    "COCO test-challenge 2015",
    ("MNC, ResNet-101, global context, multi-scale, ensemble", {COCO_R: 28.2, COCO_R5: 51.5}))

EVERYTHING = MASKS + ABLATION + BOXES + COCO + CHALLENGE


def published(imdb: str, which: str = "same") -> tuple[Published, ...]:
    """'same': rows on this data set; 'all'; 'none'."""
    if which == "none":
        return ()
    return tuple(row for row in EVERYTHING if which == "all" or row.data == imdb)
