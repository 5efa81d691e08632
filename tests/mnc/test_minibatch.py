"""The arrays of one training image."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mnc.data import Annotation, DataError
from mnc.data.minibatch import minibatch, padded_masks
from mnc.data.roidb import mask_entry, mirrored_masks, mirrored_rois, roi_entry

MEANS = np.array([10.0, 20.0, 30.0])


@pytest.fixture
def entries(tmp_path):
    """One image of 10 x 6 pixels, bright on the left, with two instances."""
    image = np.zeros((6, 10, 3), np.uint8)
    image[:, :5] = 200
    cv2.imwrite(str(tmp_path / "a.png"), image)
    masks = [np.ones((2, 3), bool), np.ones((4, 2), bool)]
    found = Annotation(np.array([(1, 2, 3, 3), (7, 1, 8, 4)], np.float32), np.array([2, 1]), masks)
    return roi_entry(str(tmp_path / "a.png"), found, (6, 10), 3), mask_entry(masks)


def test_arrays(entries):
    blobs = minibatch(*entries, MEANS, target_size=12, max_size=100)
    assert {name: blob.shape for name, blob in blobs.items()} == {
        "data": (1, 3, 12, 20), "im_info": (1, 3), "gt_boxes": (2, 5), "gt_masks": (2, 4, 3),
        "mask_info": (2, 2)}
    assert all(blob.dtype == np.float32 for blob in blobs.values())
    assert blobs["im_info"].tolist() == [[12, 20, 2]]
    assert blobs["gt_boxes"].tolist() == [[2, 4, 6, 6, 2], [14, 2, 16, 8, 1]]
    assert blobs["data"][0, :, 0, 0].tolist() == [190, 180, 170]
    assert blobs["data"][0, :, 0, -1].tolist() == [-10, -20, -30]


def test_masks_lie_in_the_upper_left_corner(entries):
    blobs = padded_masks(entries[1])
    assert blobs["mask_info"].tolist() == [[2, 3], [4, 2]]
    assert blobs["gt_masks"][0].tolist() == [[1, 1, 1], [1, 1, 1], [0, 0, 0], [0, 0, 0]]
    assert blobs["gt_masks"][1].tolist() == [[1, 1, 0]] * 4


def test_mirrored(entries):
    rois, masks = mirrored_rois(entries[0]), mirrored_masks(entries[1])
    blobs = minibatch(rois, masks, MEANS, target_size=6, max_size=100)
    assert blobs["gt_boxes"].tolist() == [[6, 2, 8, 3, 2], [1, 1, 2, 4, 1]]
    assert blobs["data"][0, 0, 0, 0] == -10 and blobs["data"][0, 0, 0, -1] == 190


def test_without_masks(entries):
    blobs = minibatch(entries[0], None, MEANS, target_size=6, max_size=100)
    assert set(blobs) == {"data", "im_info", "gt_boxes"}


def test_an_instance_without_a_mask_has_size_0(entries):
    some = padded_masks({**entries[1], "gt_masks": [None, entries[1]["gt_masks"][1]]})
    assert some["mask_info"].tolist() == [[0, 0], [4, 2]] and not some["gt_masks"][0].any()
    none = padded_masks(mask_entry([None, None]))
    assert none["mask_info"].tolist() == [[0, 0]] * 2 and none["gt_masks"].shape == (2, 1, 1)


def test_an_image_of_another_size_is_named(entries):
    entry = {**entries[0], "width": 11}
    with pytest.raises(DataError, match="a.png: the image has 10 x 6 pixels, .* is for 11 x 6"):
        minibatch(entry, None, MEANS, target_size=6, max_size=100)
