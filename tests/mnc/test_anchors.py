import numpy as np
import pytest

from golden_mnc import load
from mnc.boxes.anchors import generate_anchors, shifted_anchors


def test_the_nine_default_anchors():
    anchors = generate_anchors()
    assert anchors[0].tolist() == [-84, -40, 99, 55]
    assert np.array_equal(anchors, load("anchors_default")["anchors"])


@pytest.mark.parametrize("name, base, ratios, scales", [
    ("base8_r", 8, (0.5, 1, 2), (2, 4)), ("base16_r3", 16, (1 / 3, 1, 3), (4, 8, 16, 32)),
    ("one", 16, (1,), (8,)),
])
def test_other_bases_ratios_and_scales(name, base, ratios, scales):
    assert np.array_equal(generate_anchors(base, ratios, scales), load("anchors_variants")[name])


def test_rows_go_by_y_then_x_then_anchor():
    two = np.array([[0, 0, 15, 15], [-8, -8, 23, 23]])
    assert shifted_anchors(two, height=2, width=3, stride=8).tolist() == [
        [0, 0, 15, 15], [-8, -8, 23, 23], [8, 0, 23, 15], [0, -8, 31, 23],
        [16, 0, 31, 15], [8, -8, 39, 23], [0, 8, 15, 23], [-8, 0, 23, 31],
        [8, 8, 23, 23], [0, 0, 31, 31], [16, 8, 31, 23], [8, 0, 39, 31]]


def test_shifted_defaults():
    assert np.array_equal(shifted_anchors(generate_anchors(), 4, 5, 16),
                          load("anchors_shifted")["shifted"])
