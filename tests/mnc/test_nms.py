import numpy as np
import pytest

from golden_mnc import load
from mnc.boxes.nms import nms

pytestmark = pytest.mark.usefixtures("served_by")


def test_by_hand():
    dets = np.array([[0, 0, 9, 9, 0.5], [0, 0, 9, 8, 0.9], [20, 20, 29, 29, 0.1],
                     [0, 0, 9, 9, 0.5]])
    assert nms(dets, 0.7).tolist() == [1, 2]
    assert nms(dets, 0.95).tolist() == [1, 0, 2]              # of equal scores the lower row


@pytest.mark.parametrize("count", [1, 10, 200, 700])
@pytest.mark.parametrize("thresh", ["0.3", "0.5", "0.7"])
def test_against_the_public_code(count, thresh):
    golden = load(f"nms_{count}")
    dets = golden["dets"]
    assert np.array_equal(nms(dets, float(thresh)), golden[f"gpu_{thresh}"])
    assert np.array_equal(nms(dets, float(thresh), inclusive=True), golden[f"cpu_{thresh}"])


def test_at_the_very_threshold():
    golden = load("nms_exact_threshold")
    assert np.array_equal(nms(golden["dets"], 0.5), golden["gpu_05"])
    assert np.array_equal(nms(golden["dets"], 0.5, inclusive=True), golden["cpu_05"])


def test_a_limit_ends_the_search():
    dets = load("nms_200")["dets"]
    assert np.array_equal(nms(dets, 0.5, limit=7), nms(dets, 0.5)[:7])


def test_rows_that_are_no_numbers_are_dropped():
    """NaN compares with nothing: such a box would suppress none and outlive all."""
    good = np.float32([[0, 0, 9, 9, 0.5], [20, 20, 29, 29, 0.4]])
    for column in range(5):
        bad = np.float32([[0, 0, 9, 9, 0.9], *good, [0, 0, 9, 9, 0.1]])
        bad[0, column] = bad[3, column] = np.nan
        assert nms(bad, 0.5).tolist() == [1, 2]
    assert nms(np.full((3, 5), np.nan, np.float32), 0.5).tolist() == []


def test_none():
    assert nms(np.zeros((0, 5)), 0.5).shape == (0,)


def test_detections_that_cannot_be_written_to():
    dets = np.float32([[0, 0, 9, 9, 0.5]])
    dets.flags.writeable = False
    assert nms(dets, 0.5).tolist() == [0]
