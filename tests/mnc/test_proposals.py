import numpy as np
import pytest

from finite_differences import gradient
from mnc.boxes.proposals import ProposalLimits, by_score, proposal_gradient, propose
from mnc.boxes.regression import bbox_transform_inv, clip_boxes

ALL = ProposalLimits(pre_nms=0, post_nms=0, nms_thresh=0.7, min_size=10)
ANCHORS = np.array([[0.0, 0, 19, 19], [30, 0, 49, 19], [1, 0, 20, 19], [60, 0, 64, 4]])
SCORES = np.array([0.3, 0.9, 0.5, 0.99])
SIZE = (40, 100)


STILL = np.zeros((4, 4))


def boxes_of(limits, deltas=STILL):
    return propose(SCORES, deltas, ANCHORS, SIZE, limits).anchor_index.tolist()


def test_by_hand():
    assert boxes_of(ALL) == [1, 2]                 # 3 is too small, 0 is suppressed by 2
    found = propose(SCORES, np.zeros((4, 4)), ANCHORS, SIZE, ALL)
    assert found.rois.tolist() == [[0, 30, 0, 50, 20], [0, 1, 0, 21, 20]]    # decoding adds a pixel
    assert found.scores.tolist() == [[0.9], [0.5]]


@pytest.mark.parametrize("changes, kept", [
    ({"pre_nms": 1}, [1]), ({"post_nms": 1}, [1]), ({"nms_thresh": 0.95}, [1, 2, 0]),
    ({"min_size": 6}, [3, 1, 2]), ({"min_size": 1000}, []),
])
def test_limits(changes, kept):
    limits = {"pre_nms": 0, "post_nms": 0, "nms_thresh": 0.7, "min_size": 10} | changes
    assert boxes_of(ProposalLimits(**limits)) == kept


def test_equal_scores_keep_the_order_of_the_anchors():
    found = propose(np.full(4, 0.5), np.zeros((4, 4)), ANCHORS, SIZE, ALL)
    assert found.anchor_index.tolist() == [0, 1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_proposal_is_no_crash(dtype):
    found = propose(SCORES, np.zeros((4, 4), dtype), ANCHORS, SIZE,
                    ProposalLimits(0, 0, 0.7, min_size=1000))
    assert found.rois.shape == (0, 5) and found.rois.dtype == dtype
    of_deltas = proposal_gradient(np.zeros((0, 5)), found.anchor_index, np.zeros((4, 4)), ANCHORS,
                                  SIZE)
    assert of_deltas.shape == (4, 4) and not of_deltas.any()


def test_reference_gradient_by_hand():
    anchors = np.array([[10.0, 10, 20, 30], [0, 10, 20, 30]])        # 10 x 20 without the + 1
    deltas = np.array([[0, 0, 0, np.log(0.5)], [-0.1, 0, 0, 0]])     # the second leaves the image
    diff = np.array([[9.0, 1, 2, 3, 5], [0, 1, 1, 1, 1]])
    rows = proposal_gradient(diff, np.array([0, 1]), deltas, anchors, (60, 80))
    expected = [(1 + 3) * 10, (2 + 5) * 20, 0.5 * (3 - 1) * 10, 0.5 * (5 - 2) * 0.5 * 20]
    assert np.allclose(rows, [expected, [0, 0, 0, 0]])


def test_exact_gradient_is_the_derivative():
    rng = np.random.default_rng(1)
    anchors = np.array([[5.0, 5, 30, 30], [-10, 3, 20, 50], [40, 10, 90, 38], [20, 20, 30, 30]])
    deltas, weight = rng.normal(0, 0.2, (4, 4)), rng.normal(size=(3, 5))
    chosen = np.array([2, 0, 1])

    def value(deltas):
        boxes, _ = clip_boxes(bbox_transform_inv(anchors, deltas), SIZE)
        return (weight[:, 1:] * boxes[chosen]).sum()

    found = proposal_gradient(weight, chosen, deltas, anchors, SIZE, exact=True)
    assert np.allclose(found, gradient(value, deltas))
    assert not found[3].any()


@pytest.mark.parametrize("most", (0, 1, 5, 40, 99, 100, 101))
def test_the_best_scores_come_in_row_order_where_they_are_equal(most):
    scores = np.random.default_rng(0).integers(0, 9, 100).astype(np.float32)
    expected = np.argsort(-scores, kind="stable")[:most or None]
    assert by_score(scores, most).tolist() == expected.tolist()
