import numpy as np
import pytest

from golden_mnc import load
from mnc.config import overridden
from mnc.sampling.anchor_targets import AnchorSampling, anchor_targets, unmap
from pylayer.settings import TrainSettings

# exactly on the first truth; IoU 90/110 with it; IoU 1/3 with the second; far away; outside
ANCHORS = np.array([[0.0, 0, 9, 9], [1, 0, 10, 9], [25, 0, 34, 9], [60, 20, 69, 29],
                    [95, 0, 104, 9]])
TRUTH = np.array([[0.0, 0, 9, 9, 3], [20, 0, 29, 9, 1]], np.float32)
SIZE = (40, 100)


def labels(anchors=ANCHORS, truth=TRUTH, border=0, mixed=None, **sampling):
    return anchor_targets(anchors, truth, SIZE, AnchorSampling(**sampling), border, mixed).labels


def test_labels_by_hand():
    assert labels().tolist() == [1, 1, 1, 0, -1]              # the third: its truth's best
    assert labels(positive_overlap=0.9).tolist() == [1, -1, 1, 0, -1]
    assert labels(border=5).tolist() == [1, 1, 1, 0, 0]
    assert labels(negative_overlap=0.5).tolist() == [1, 1, 1, 0, -1]
    assert labels(negative_overlap=0.5, clobber_positives=True).tolist() == [1, 1, 0, 0, -1]


def test_targets_and_weights_by_hand():
    found = anchor_targets(ANCHORS, TRUTH, SIZE, AnchorSampling())
    assert np.allclose(found.bbox_targets[:3, 0], [0, -0.1, -0.5])
    assert found.bbox_inside_weights[:, 2].tolist() == [1, 1, 1, 0, 0]
    assert found.bbox_outside_weights[:, 1].tolist() == [0.25, 0.25, 0.25, 0.25, 0]
    shared = anchor_targets(ANCHORS, TRUTH, SIZE, AnchorSampling(positive_weight=0.6))
    assert np.allclose(shared.bbox_outside_weights[:, 3], [0.2, 0.2, 0.2, 0.4, 0])


def test_all_anchors_that_tie_for_a_truth_are_positive():
    tied = np.array([[25.0, 0, 34, 9], [15, 0, 24, 9], [60, 20, 69, 29]])
    assert labels(tied, TRUTH[1:]).tolist() == [1, 1, 0]


def test_a_truth_that_meets_no_anchor_inside_the_image():
    """In the public code all anchors without overlap are its best: positive, far as they are."""
    far = np.array([[80.0, 30, 84, 34, 2]], np.float32)
    truth = np.vstack((TRUTH[:1], far))
    assert labels(truth=truth).tolist() == [1, 1, 1, 1, -1]
    assert labels(truth=truth, best_overlaps=True).tolist() == [1, 1, 0, 0, -1]
    assert labels(truth=far, best_overlaps=True).tolist() == [0, 0, 0, 0, -1]
    none = np.zeros((0, 5), np.float32)
    assert labels(truth=none, best_overlaps=True).tolist() == [0, 0, 0, 0, -1]


def test_the_key_of_anchors_without_overlap(mini_cfg):
    for value, exact in (("reference", False), ("exact", True)):
        with overridden({"COMPAT.BEST_ANCHORS": value}) as cfg:
            assert TrainSettings.of(cfg).anchors.best_overlaps is exact


def test_surplus_is_drawn_positives_first():
    np.random.seed(3)
    expected = np.full(5, -1.0)
    expected[:4] = [1, 1, 1, 0]
    expected[np.random.choice([0, 1, 2], size=2, replace=False)] = -1
    np.random.seed(3)
    assert labels(batch_size=2, fg_fraction=0.5).tolist() == expected.tolist()


def test_mixed_labels_come_last_and_only_inside():
    mixed = np.array([3.0, 4.0]), np.array([0.0, 3.0])        # 3 is in both: foreground wins
    assert labels(mixed=mixed).tolist() == [0, 1, 1, 1, -1]


def test_no_ground_truth_is_all_background():
    found = anchor_targets(ANCHORS, np.zeros((0, 5), np.float32), SIZE, AnchorSampling())
    assert found.labels.tolist() == [0, 0, 0, 0, -1] and not found.bbox_targets.any()


@pytest.mark.parametrize("anchors", [ANCHORS[4:], ANCHORS[:0]])
def test_no_anchor_inside(anchors):
    found = anchor_targets(anchors, TRUTH, SIZE, AnchorSampling())
    assert (found.labels == -1).all() and not found.bbox_outside_weights.any()
    assert found.bbox_targets.shape == (len(anchors), 4)


def test_unmap():
    golden = load("unmap")
    found = unmap(golden["data"], int(golden["count"]), golden["inds"], fill=-1)
    assert np.array_equal(found, golden["out"])
