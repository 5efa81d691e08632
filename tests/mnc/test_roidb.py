"""The data bases of RoIs and masks."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from mnc.data import Annotation, DataError
from mnc.data.roidb import mirrored_masks, mirrored_rois, prepare


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The files of the drawer's images lie in the working directory."""
    for i in range(4):
        (tmp_path / f"{i}.png").touch()
    monkeypatch.chdir(tmp_path)


class Drawer:
    """A data set held in memory; every image has 11 x 7 pixels."""

    name, classes = "drawer", ("__background__", "kite", "boat")

    def __init__(self, annotations):
        self.annotations = annotations
        self.names = [f"{i}" for i in range(len(annotations))]

    def __len__(self):
        return len(self.annotations)

    def image_path(self, i):
        return f"{i}.png"

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
    assert plain["image"] == mirrored["image"] == "0.png"
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


def test_what_cannot_be_used_is_left_out_and_said(caplog):
    good, bad = (0, 0, 1, 1), (8, 5, 11, 6)
    whole = annotation(good)
    one_mask_more = Annotation(whole.boxes, whole.labels, whole.masks * 2)
    dataset = Drawer([annotation(good, bad), annotation(bad), one_mask_more, annotation(good),
                      annotation(good)])                      # the last has no file
    with caplog.at_level(logging.WARNING, "mnc"):
        roidb, maskdb = prepare(dataset, use_flipped=False)
    assert [entry["name"] for entry in roidb] == ["0", "3"]
    assert [len(entry["boxes"]) for entry in roidb] == [1, 1] and len(maskdb) == 2
    (record,) = caplog.records
    for part in ("drawer: 4 images or instances cannot be used and are left out",
                 "0: box (8, 5, 11, 6) of instance 2 is not inside the image of 11 x 7 pixels",
                 "1: box", "drawer, 2: 1 boxes, 1 labels and 2 masks", "4.png: no such image file"):
        assert part in record.getMessage()
    with pytest.raises(DataError, match="drawer: no image with .* to train on; .* fault: 0: box"):
        prepare(Drawer([annotation(bad)]))


def test_long_lists_are_cut(caplog):
    prepare(Drawer([annotation((0, 0, 1, 1), *[(8, 5, 11, 6)] * 30)]))
    assert "... and 10 more" in caplog.text and len(caplog.text.splitlines()) == 1 + 20 + 1


def test_difficult_instances_and_crowds_are_not_trained_on():
    found = annotation((0, 0, 1, 1), (1, 1, 2, 2), (2, 2, 3, 3))
    flags = {"difficult": np.array([1, 0, 0], bool), "crowd": np.array([0, 0, 1], bool)}
    found = Annotation(found.boxes, found.labels, found.masks, **flags)
    assert found.ignored.tolist() == [True, False, True]
    (entry,), (masks,) = prepare(Drawer([found]), use_flipped=False)
    assert entry["boxes"].tolist() == [[1, 1, 2, 2]] and len(masks["gt_masks"]) == 1


def test_instances_without_masks():
    found = annotation((0, 0, 1, 1), (1, 1, 4, 2))
    boxes = Annotation(found.boxes, found.labels, None)
    some = Annotation(found.boxes, found.labels, [None, found.masks[1]])
    assert boxes.has_mask.tolist() == [False, False] and some.has_mask.tolist() == [False, True]
    assert boxes.instance_areas().tolist() == [4, 8]
    assert some.instance_areas().tolist() == [4, found.masks[1].sum()]
    assert some.rows([1]).masks[0] is found.masks[1] and boxes.rows([0]).masks is None
    _, maskdb = prepare(Drawer([boxes, some]))
    assert [entry["mask_max"] for entry in maskdb] == [[1, 1], [4, 2]] * 2
    assert maskdb[2]["gt_masks"] == [None, None] and maskdb[3]["gt_masks"][0] is None
    assert (maskdb[3]["gt_masks"][1] == found.masks[1][:, ::-1]).all()


def test_masks_beyond_a_limit_are_read_when_needed(monkeypatch):
    first, second = annotation((0, 0, 1, 1)), annotation((8, 5, 11, 6), (1, 1, 4, 2))
    dataset = Drawer([first, second])
    _, held = prepare(dataset)
    monkeypatch.setattr("mnc.data.roidb.KEEP_MASKS", 5)           # the first has 4 pixels
    _, read = prepare(dataset)
    assert len(read) == 4 and read[0]["gt_masks"][0] is first.masks[0]
    assert read[1]["gt_masks"] is not read[1]["gt_masks"]
    for a, b in zip(held, read):
        assert a["mask_max"] == b["mask_max"] and a["flipped"] == b["flipped"]
        assert all((m == n).all() for m, n in zip(a["gt_masks"], b["gt_masks"]))
