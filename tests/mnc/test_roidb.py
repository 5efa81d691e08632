"""The data bases of RoIs and masks."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from mnc.data import Annotation, DataError
from mnc.data.roidb import mirrored_masks, mirrored_rois, prepare


class Drawer:
    """A data set held in memory; every image has 11 x 7 pixels."""

    name, classes = "drawer", ("__background__", "kite", "boat")

    def __init__(self, annotations):
        self.annotations = annotations
        self.names = [f"{i}" for i in range(len(annotations))]

    def __len__(self):
        return len(self.annotations)

    def image_path(self, i):
        return f"/drawer/{i}.png"

    def image(self, i):
        return np.zeros((7, 11, 3), np.uint8)

    def annotation(self, i):
        return self.annotations[i]


def annotation(*boxes, labels=None):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    sizes = (boxes[:, 2:] - boxes[:, :2] + 1).astype(int)
    masks = [np.arange(h * w).reshape(h, w) % 3 > 0 for w, h in sizes]
    return Annotation(boxes, np.array(labels or [1] * len(boxes), int), masks)


def test_entries():
    dataset = Drawer([annotation((2, 1, 6, 3), (5, 3, 10, 3), labels=[2, 1])])
    (plain, mirrored), maskdb = prepare(dataset, use_flipped=True)
    assert plain["image"] == mirrored["image"] == "/drawer/0.png"
    assert (plain["width"], plain["height"]) == (11, 7)
    assert (plain["flipped"], mirrored["flipped"]) == (False, True)
    assert plain["gt_classes"].tolist() == plain["max_classes"].tolist() == [2, 1]
    assert plain["gt_overlaps"].toarray().tolist() == [[0, 0, 1], [0, 1, 0]]
    assert plain["max_overlaps"].tolist() == [1, 1]
    assert mirrored["boxes"].tolist() == [[4, 1, 8, 3], [0, 3, 5, 3]]
    assert maskdb[0]["mask_max"] == maskdb[1]["mask_max"] == [6, 3]
    for before, after in zip(maskdb[0]["gt_masks"], maskdb[1]["gt_masks"]):
        assert (before == after[:, ::-1]).all()


def test_mirrored_ones_follow_all_originals():
    dataset = Drawer([annotation((0, 0, 1, 1)), annotation((2, 2, 3, 3))])
    roidb, maskdb = prepare(dataset, use_flipped=True)
    assert [entry["image"][-5] for entry in roidb] == ["0", "1", "0", "1"]
    for entries in (roidb, maskdb):
        assert [entry["flipped"] for entry in entries] == [False, False, True, True]
    assert len(prepare(Drawer([annotation((0, 0, 1, 1))]), use_flipped=False)[0]) == 1


def test_mirroring_twice_changes_nothing():
    (entry,), (masks,) = prepare(Drawer([annotation((2, 1, 6, 3))]), use_flipped=False)
    assert (mirrored_rois(mirrored_rois(entry))["boxes"] == entry["boxes"]).all()
    assert (mirrored_masks(mirrored_masks(masks))["gt_masks"][0] == masks["gt_masks"][0]).all()


def test_images_without_an_instance_are_left_out(caplog):
    with caplog.at_level(logging.INFO, "mnc"):
        roidb, maskdb = prepare(Drawer([annotation(), annotation((0, 0, 1, 1))]), False)
    assert len(roidb) == len(maskdb) == 1 and "left out 1 images without an instance" in caplog.text


def test_a_bad_annotation_is_named():
    with pytest.raises(DataError, match="drawer, 1: box .* not inside the image of 11 x 7"):
        prepare(Drawer([annotation((0, 0, 1, 1)), annotation((8, 5, 11, 6))]))
