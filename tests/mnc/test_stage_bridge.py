import numpy as np

from finite_differences import gradient
from mnc.boxes.regression import Normalization
from mnc.masks.targets import MaskForm
from mnc.sampling.proposal_targets import GroundTruth, TargetForm
from mnc.sampling.stage_bridge import bridge_gradient, bridge_targets, move_rois

SIZE = (60, 80)
ROIS = np.array([[0, 10, 10, 19, 29], [0, 0, 5, 39, 44], [0, 30, 20, 69, 49.0]])
SCORES = np.array([[0.5, 0.2, 0.3], [0.1, 0.8, 0.1], [0.6, 0.3, 0.1]])
STDS = Normalization(np.zeros(4), np.array([0.1, 0.1, 0.2, 0.2]))


def prediction():
    return np.random.default_rng(2).normal(0, 0.3, (3, 12))


def test_the_best_class_moves_the_roi():
    pred = np.zeros((3, 12))
    pred[0, 8] = 1                                            # class 2: one width to the right
    pred[0, 0] = 2                                            # class 0: two
    trained = move_rois(ROIS, pred, SCORES, SIZE, foreground_only=True)
    assert trained.classes.tolist() == [2, 1, 1]
    assert trained.rois[0].tolist() == [0, 20, 10, 30, 30]
    tested = move_rois(ROIS, pred, SCORES, SIZE, foreground_only=False)
    assert tested.classes.tolist() == [0, 1, 0]
    assert tested.rois[0].tolist() == [0, 30, 10, 40, 30]


def test_denormalised_deltas():
    pred = np.full((3, 12), 10.0)
    moved = move_rois(ROIS, pred, SCORES, SIZE, True, STDS)
    assert np.allclose(moved.deltas, [1, 1, 2, 2])


def test_foreground_first_ground_truth_last():
    moved = move_rois(ROIS, np.zeros((3, 12)), SCORES, SIZE, True)
    truth = GroundTruth(np.array([[29, 20, 69, 49, 2]]), np.ones((1, 30, 41)), np.array([[30, 41]]))
    found = bridge_targets(moved, truth, SIZE, TargetForm(3, STDS, mask=MaskForm(2)))
    assert found.keep.tolist() == [2, 3, 0, 1] and found.num_fg == 2
    assert found.labels.tolist() == [2, 2, 0, 0]


def test_nothing_there_is_no_crash():
    moved = move_rois(ROIS[:0], np.zeros((0, 12)), SCORES[:0], SIZE, True)
    none = GroundTruth(np.zeros((0, 5)), np.zeros((0, 3, 3)), np.zeros((0, 2)))
    assert bridge_targets(moved, none, SIZE, TargetForm(3, STDS)).rois.shape == (0, 5)
    of_rois, of_deltas = bridge_gradient(moved, ROIS[:0], np.zeros((0, 5)), SIZE)
    assert of_rois.shape == (0, 5) and of_deltas.shape == (0, 4)


def test_reference_gradient_by_hand():
    pred = np.zeros((3, 12))
    pred[0, 8:10] = 0.5, 0.25
    moved = move_rois(ROIS, pred, SCORES, SIZE, True)
    grad = np.array([[0, 1, 2, 3, 4], [0, 0, 0, 0, 0], [0, 1, 1, 1, 1.0]])
    of_rois, of_deltas = bridge_gradient(moved, ROIS, grad, SIZE)
    assert np.allclose(of_rois[0], [0, 1, 2, 3 * 1.5, 4 * 1.25])
    width, height = 10, 19 - 10                               # columns 2 - 0 and 3 - 1 of the row
    assert np.allclose(of_deltas[0], [1 * width, 2 * height, 3 * width, 4 * height])
    assert not of_deltas[1].any()


def test_a_box_outside_gives_its_deltas_nothing():
    pred = np.zeros((3, 12))
    pred[0, 8] = -2                                           # 20 pixels to the left of x 10
    moved = move_rois(ROIS, pred, SCORES, SIZE, True)
    of_rois, of_deltas = bridge_gradient(moved, ROIS, np.ones((3, 5)), SIZE)
    assert not of_deltas[0].any() and of_rois[0].any() and of_deltas[2].any()


def test_exact_gradient_is_the_derivative():
    pred, grad = prediction(), np.random.default_rng(3).normal(size=(3, 5))

    def value(rois, pred):
        return (grad[:, 1:] * move_rois(rois, pred, SCORES, SIZE, True, STDS).rois[:, 1:]).sum()

    moved = move_rois(ROIS, pred, SCORES, SIZE, True, STDS)
    of_rois, of_deltas = bridge_gradient(moved, ROIS, grad, SIZE, exact=True)
    assert np.allclose(of_rois[:, 1:], gradient(lambda r: value(r, pred), ROIS)[:, 1:])
    numerical = gradient(lambda p: value(ROIS, p), pred).reshape(3, 3, 4)
    assert np.allclose(of_deltas * STDS.stds, numerical[np.arange(3), moved.classes])
