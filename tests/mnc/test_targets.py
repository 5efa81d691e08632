import numpy as np

from golden_mnc import load
from mnc.masks.rendering import resize
from mnc.masks.targets import MaskForm, TruthMasks, intersect_mask, mask_labels, mask_targets

SMALL = MaskForm(size=2)


def test_resize_agrees_with_the_public_codes_opencv():
    golden = load("cv2_resize")
    for i in range(9):
        want = golden[f"out_{i}"]
        assert np.abs(resize(golden[f"in_{i}"], *want.shape) - want).max() < 1e-5


def test_the_common_part_by_hand():
    mask = np.ones((4, 4), bool)                       # at (2, 0, 5, 3); seen from (0, 0, 3, 3)
    assert intersect_mask([0, 0, 3, 3], [2, 0, 5, 3], mask, SMALL).tolist() == [[False, True]] * 2
    assert not intersect_mask([0, 0, 3, 3], [4, 0, 7, 3], mask, SMALL).any()


def test_intersections_against_the_public_code():
    golden = load("mask_overlap_intersect")
    for i in range(12):
        found = intersect_mask(golden[f"box1_{i}"], golden[f"box2_{i}"], golden[f"mask2_{i}"])
        assert found.shape == (21, 21) and np.array_equal(found, golden[f"intersect_{i}"])


def test_targets_by_hand():
    rois = np.array([[0.4, 0, 3.2, 3], [10, 10, 13, 13]])
    masks = np.zeros((2, 6, 6), np.float32)
    masks[1, :4, :4] = 1                                         # 4 x 4 in a padded array
    found = mask_targets(rois, np.array([7, 0]), np.array([1]),
                         TruthMasks(np.array([[9, 9, 9, 9], [2, 0, 5, 3]]), masks,
                                    np.array([[1, 1], [4, 4]])), SMALL)
    assert found.targets[0, 0].tolist() == [[0, 1], [0, 1]] and not found.targets[1].any()
    assert found.weight[:, 0, 0, 0].tolist() == [1, 0]
    assert found.info.tolist() == [[1, 4, 4, 7, 0, 0, 3, 3, 2, 0, 5, 3], [-1] * 12]


def test_labels_by_hand():
    gt_masks = np.ones((1, 4, 4), np.float32)
    info = np.array([[0, 4, 4, 5, 0, 0, 3, 3, 0, 0, 3, 3], [-1] * 12,
                     [0, 4, 4, 5, 0, 0, 3, 3, 0, 0, 3, 3]], np.float32)
    masks = np.array([np.full((2, 2), 0.4), np.ones((2, 2)), np.full((2, 2), 0.39)], np.float32)
    assert mask_labels(masks, gt_masks, info, SMALL).tolist() == [5, 0, 0]
    quarter = np.array([[[1, 0], [0, 0]]], np.float32)
    assert mask_labels(quarter, gt_masks, info[:1], SMALL).tolist() == [0]
    assert mask_labels(quarter, gt_masks, info[:1], SMALL, min_overlap=0.1).tolist() == [5]


def test_a_truth_without_a_mask_teaches_no_mask():
    rois = np.array([[0, 0, 3, 3], [0, 0, 3, 3], [9, 9, 12, 12]])
    boxes, masks = np.array([[0, 0, 3, 3], [0, 0, 3, 3]]), np.ones((2, 4, 4), np.float32)
    found = mask_targets(rois, np.array([7, 8, 0]), np.array([0, 1]),
                         TruthMasks(boxes, masks, np.array([[0, 0], [4, 4]])), SMALL)
    assert found.weight[:, 0, 0, 0].tolist() == [0, 1, 0] and not found.targets[0].any()
    assert found.info[:, :4].tolist() == [[0, 0, 0, 7], [1, 4, 4, 8], [-1, -1, -1, -1]]
    predicted = np.ones((3, 2, 2), np.float32)
    assert mask_labels(predicted, masks, found.info, SMALL).tolist() == [-1, 8, 0]


def test_nothing_is_said_of_masks_in_an_image_without_any():
    rois = np.array([[0, 0, 3, 3], [9, 9, 12, 12]])
    found = mask_targets(rois, np.array([7, 0]), np.array([0]),
                         TruthMasks(rois[:1], np.zeros((1, 1, 1), np.float32), np.zeros((1, 2))),
                         SMALL)
    assert not found.weight.any() and found.info[1].tolist() == [-1, 0, 0] + [-1] * 9
    assert mask_labels(np.ones((2, 2, 2), np.float32), np.zeros((1, 1, 1)), found.info,
                       SMALL).tolist() == [-1, -1]


def test_no_rois():
    none = mask_targets(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int),
                        TruthMasks(np.zeros((0, 4)), np.zeros((0, 5, 5)), np.zeros((0, 2))), SMALL)
    assert none.targets.shape == (0, 1, 2, 2) and none.info.shape == (0, 12)
    assert mask_labels(np.zeros((0, 2, 2)), np.zeros((0, 5, 5)), none.info, SMALL).shape == (0,)
