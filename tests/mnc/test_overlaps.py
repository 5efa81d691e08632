import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from golden_mnc import load
from mnc.boxes.overlaps import bbox_overlaps
from mnc.masks.overlaps import mask_overlap, mask_overlaps

pytestmark = pytest.mark.usefixtures("served_by")


def test_by_hand():
    boxes = np.array([[0, 0, 9, 9], [5, 0, 14, 9], [10, 10, 19, 19], [9, 9, 9, 9]])
    assert np.allclose(bbox_overlaps(boxes, boxes[:1])[:, 0], [1, 50 / 150, 0, 1 / 100])


def test_against_the_public_code():
    golden = load("bbox_overlaps")
    assert np.array_equal(bbox_overlaps(golden["boxes"], golden["query"]), golden["overlaps"])


def test_none():
    assert bbox_overlaps(np.zeros((0, 4)), np.zeros((3, 5))).shape == (0, 3)
    assert bbox_overlaps(np.zeros((2, 4)), np.zeros((0, 5))).shape == (2, 0)


@given(arrays(np.int64, (5, 4), elements=st.integers(0, 30)))
def test_symmetric_and_at_most_one(corners):
    boxes = np.hstack((np.minimum(corners[:, :2], corners[:, 2:]),
                       np.maximum(corners[:, :2], corners[:, 2:])))
    overlaps = bbox_overlaps(boxes, boxes)
    assert np.array_equal(overlaps, overlaps.T)
    assert (overlaps >= 0).all() and (overlaps <= 1).all() and (np.diag(overlaps) == 1).all()


def test_masks_by_hand():
    left, right = np.ones((2, 4), bool), np.ones((2, 4), bool)       # 2 rows at x 0..3 and 2..5
    right[:, 0] = False
    assert mask_overlap([0, 0, 3, 1], [2, 0, 5, 1], left, right) == 2 / 12
    assert mask_overlap([0, 0, 3, 1], [4, 0, 7, 1], left, right) == 0
    assert mask_overlap([0, 0, 3, 1], [0, 0, 3, 1], left & False, left & False) == 0


def test_each_mask_with_each():
    boxes, masks = [], []
    for side in (2, 3, 5, 7):
        boxes.append([side, 1, 2 * side, 3])
        masks.append(np.random.rand(3, side + 1) > 0.4)
    boxes.append([4, 4, 3, 9])                                      # inverted: holds nothing
    masks.append(np.ones((6, 1), bool))
    found = mask_overlaps(boxes, masks, boxes[:3], masks[:3])
    assert found.tolist() == [[mask_overlap(b, query, m, other)
                               for query, other in zip(boxes[:3], masks)]
                              for b, m in zip(boxes, masks)]
    assert found[:3].diagonal().tolist() == [1, 1, 1] and not found[4].any() and found[0, 2] == 0


def test_of_arrays_that_cannot_be_written_to():
    boxes, mask = np.array([[0, 0, 3, 1.0]]), np.ones((2, 4), bool)
    boxes.flags.writeable = mask.flags.writeable = False
    assert bbox_overlaps(boxes, boxes) == 1 and mask_overlap(boxes[0], boxes[0], mask, mask) == 1


def test_masks_against_the_public_code():
    golden = load("mask_overlap_intersect")
    for i in range(12):
        args = [golden[f"{name}_{i}"] for name in ("box1", "box2", "mask1", "mask2")]
        assert mask_overlap(*args) == golden[f"overlap_{i}"]
