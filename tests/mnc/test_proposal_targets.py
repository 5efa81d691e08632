import numpy as np
import pytest

from golden_mnc import load
from mnc.boxes.regression import Normalization
from mnc.config import ConfigError, overridden
from mnc.masks.targets import MaskForm
from mnc.sampling.proposal_targets import (
    GroundTruth,
    OverlapBin,
    RoiSampling,
    TargetForm,
    proposal_targets,
    spread_over_classes,
)
from pylayer.settings import TrainSettings

STDS = Normalization(np.zeros(4), np.array([0.1, 0.1, 0.2, 0.2]))
FORM = TargetForm(num_classes=3, normalization=STDS, mask=MaskForm(size=2))
SAMPLING = RoiSampling(8, [OverlapBin(0.5, 0.5, 1)],
                       [OverlapBin(0.75, 0.1, 0.5), OverlapBin(0.25, 0, 0.1)])
TRUTH = GroundTruth(np.array([[0, 0, 9, 9, 2]], np.float32), np.ones((1, 6, 6), np.float32),
                    np.array([[5, 5]], np.float32), im_scale=2.0)
# overlaps 9/11, 1/3, 0
ROIS = np.array([[0, 1, 0, 10, 9], [0, 5, 0, 14, 9], [0, 50, 50, 59, 59]], np.float32)


def test_by_hand():
    found = proposal_targets(ROIS, TRUTH, SAMPLING, FORM)
    assert found.keep.tolist() == [0, 3, 1, 2] and found.num_fg == 2     # the truth is row 3
    assert found.labels.tolist() == [2, 2, 0, 0]
    assert found.rois[1].tolist() == [0, 0, 0, 9, 9]
    assert np.allclose(found.bbox_targets[0], [0] * 8 + [-1, 0, 0, 0])
    assert found.bbox_inside_weights.sum(1).tolist() == [4, 4, 0, 0]
    assert np.array_equal(found.bbox_outside_weights, found.bbox_inside_weights)
    assert found.masks.info[:, 0].tolist() == [0, 0, -1, -1]
    halves_go_to_even = [0, 5, 5, 2, 0, 0, 5, 4, 0, 0, 4, 4]
    assert found.masks.info[0].tolist() == halves_go_to_even
    assert found.masks.targets[1].all() and not found.masks.weight[2:].any()


def test_without_masks():
    assert proposal_targets(ROIS, GroundTruth(TRUTH.boxes), SAMPLING, FORM).masks is None


def test_counts_round_half_to_even_and_draws_go_bin_by_bin():
    rois = np.tile(ROIS[1:], (10, 1))                       # ten of 1/3, ten of 0
    sampling = RoiSampling(4, [OverlapBin(0.25, 0.5, 1)],
                           [OverlapBin(0.5, 0.1, 0.5), OverlapBin(0.5, 0, 0.1)])
    np.random.seed(3)
    choose = np.random.choice
    fg = choose([20], 1, replace=False)                     # a draw, although there is no choice
    near, far = (choose(np.arange(start, 20, 2), 2, replace=False) for start in (0, 1))   # 1.5 -> 2
    expected = [*fg, *np.unique([*near, *far])]
    np.random.seed(3)
    assert proposal_targets(rois, TRUTH, sampling, FORM).keep.tolist() == expected


@pytest.mark.parametrize("rois, truth, labels", [
    (ROIS[:0], TRUTH, [2]),                                                        # no proposal
    (ROIS, GroundTruth(TRUTH.boxes[:0], TRUTH.masks[:0], TRUTH.sizes[:0]), [0, 0]),  # no truth
    (ROIS[:0], GroundTruth(TRUTH.boxes[:0], TRUTH.masks[:0], TRUTH.sizes[:0]), []),
])
def test_nothing_there_is_no_crash(rois, truth, labels):
    found = proposal_targets(rois, truth, SAMPLING, FORM)
    assert found.labels.tolist() == labels
    assert found.bbox_targets.shape == (len(labels), 12)
    assert found.masks.targets.shape == (len(labels), 1, 2, 2)


def test_spread_over_classes():
    golden = load("bbox_regression_label")
    form = TargetForm(int(golden["num_class"]), None)
    targets, weights = spread_over_classes(golden["data"][:, 0], golden["data"][:, 1:], form)
    assert np.array_equal(targets, golden["targets"])
    assert np.array_equal(weights, golden["inside_weights"])


@pytest.mark.parametrize("key", ["TRAIN.FG_FRACTION", "TRAIN.BG_THRESH_LO",
                                 "TRAIN.FRACTION_SAMPLE"])
def test_bins_need_all_their_ends(key):
    with overridden({key: [0.1, 0.2, 0.3, 0.4]}) as cfg:
        with pytest.raises(ConfigError, match=f"{key}.* must be equally long"):
            TrainSettings.of(cfg)
