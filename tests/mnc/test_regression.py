import numpy as np
import pytest

from finite_differences import gradient
from golden_mnc import load
from mnc.boxes.regression import (
    MOST_GROWTH,
    Normalization,
    bbox_compute_targets,
    bbox_transform,
    bbox_transform_inv,
    bounded_growth,
    clip_boxes,
    clipping_gradient,
    decoding_gradient,
    filter_small_boxes,
    scale_boxes,
)
from mnc.config import DEFAULTS

STDS = Normalization(np.zeros(4), np.array([0.1, 0.1, 0.2, 0.2]))


def test_one_box_width_to_the_right():
    ex, gt = np.array([[0.0, 0, 9, 19]]), np.array([[10.0, 0, 19, 19]])
    assert bbox_transform(ex, gt).tolist() == [[1, 0, 0, 0]]
    assert bbox_transform_inv(ex, np.array([[1.0, 0, 0, 0]])).tolist() == [[10, 0, 20, 20]]


def test_targets():
    golden = load("bbox_transform")
    ex, gt = golden["ex"], golden["gt"]
    assert np.array_equal(bbox_transform(ex, gt), golden["targets"])
    assert np.array_equal(bbox_compute_targets(ex, gt, STDS), golden["normalized"])
    assert np.array_equal(bbox_compute_targets(ex, gt, None), golden["plain"])


def test_decoding_clipping_filtering():
    golden = load("bbox_transform_inv_clip")
    pred = bbox_transform_inv(golden["boxes"], golden["deltas"])              # three classes
    assert np.array_equal(pred, golden["pred"])
    clipped, keep = clip_boxes(pred, golden["im_shape"])
    assert np.array_equal(clipped, golden["clipped"])
    assert np.array_equal(keep, golden["keep_multi"])                        # a row once a class
    clipped, keep = clip_boxes(pred[:, :4], golden["im_shape"])
    assert np.array_equal(clipped, golden["clipped4"]) and np.array_equal(keep, golden["keep4"])
    assert np.array_equal(filter_small_boxes(clipped, 16), golden["filtered16"])
    assert np.array_equal(filter_small_boxes(clipped, 40), golden["filtered40"])
    assert np.array_equal(scale_boxes(golden["boxes"], 1.5), golden["scaled"])


def test_the_last_pixel_is_inside():
    boxes = np.array([[0.0, 0, 29, 19], [0, 0, 30, 19], [-1, 5, 7, 9]])
    clipped, keep = clip_boxes(boxes, (20, 30))
    assert clipped.tolist() == [[0, 0, 29, 19], [0, 0, 29, 19], [0, 5, 7, 9]]
    assert keep.tolist() == [0]
    assert filter_small_boxes(np.array([[0.0, 0, 15, 15], [0, 0, 14, 99]]), 16).tolist() == [0]


def test_clip_edges():
    golden = load("clip_edge")
    clipped, keep = clip_boxes(golden["boxes"], golden["im_shape"])
    assert np.array_equal(clipped, golden["clipped"]) and np.array_equal(keep, golden["keep"])
    assert np.array_equal(filter_small_boxes(clipped, 16), golden["filtered16"])


def test_no_boxes():
    none = np.zeros((0, 4), np.float32)
    assert bbox_transform_inv(none, np.zeros((0, 12), np.float32)).shape == (0, 12)
    assert bbox_transform(none, none).shape == (0, 4)
    clipped, keep = clip_boxes(np.zeros((0, 12), np.float32), (5, 7))
    assert clipped.shape == (0, 12) and keep.shape == (0,)
    assert filter_small_boxes(none, 3).shape == (0,)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_results_have_the_precision_of_the_deltas(dtype):
    pred = bbox_transform_inv(np.zeros((3, 4)), np.zeros((3, 8), dtype))
    assert pred.dtype == dtype and clip_boxes(pred, (5, 7))[0].dtype == dtype


def random_case():
    rng = np.random.default_rng(5)
    corner, size = rng.uniform(0, 40, (5, 2)), rng.uniform(5, 30, (5, 2))
    boxes, deltas = np.hstack((corner, corner + size)), rng.normal(0, 0.3, (5, 4))
    return boxes, deltas, rng.normal(size=(5, 4))


def test_decoding_gradient_is_the_derivative():
    boxes, deltas, weight = random_case()
    of_boxes, of_deltas = decoding_gradient(boxes, deltas, weight)

    def value(boxes, deltas):
        return (weight * bbox_transform_inv(boxes, deltas)).sum()

    assert np.allclose(of_boxes, gradient(lambda b: value(b, deltas), boxes))
    assert np.allclose(of_deltas, gradient(lambda d: value(boxes, d), deltas))


def test_clipped_coordinates_pass_nothing():
    boxes = np.array([[-3.0, 2, 8, 25]])
    assert clipping_gradient(boxes, (20, 30), np.array([[1.0, 2, 3, 4]])).tolist() == [[0, 2, 3, 0]]
    boxes, _, weight = random_case()
    numerical = gradient(lambda b: (weight * clip_boxes(b, (30, 45))[0]).sum(), boxes)
    assert np.allclose(clipping_gradient(boxes, (30, 45), weight), numerical)


def test_growth_beyond_all_bounds_covers_the_image_and_has_a_gradient():
    boxes = np.float32([[10, 20, 30, 40]] * 3)
    deltas = np.float32([[0, 0, 1000, 1000], [0, 0, 88, 0], [0, 0, np.inf, -np.inf]])
    found = bbox_transform_inv(boxes, deltas)
    assert np.isfinite(found).all()
    clipped, _ = clip_boxes(found, (50, 60))
    np.testing.assert_array_equal(clipped[0], [0, 0, 59, 49])
    np.testing.assert_array_equal(clipped[1, ::2], [0, 59])
    for values in decoding_gradient(boxes, deltas, np.ones((3, 4), np.float32)):
        assert np.isfinite(values).all()


def test_growth_is_bounded_for_each_class_alone():
    deltas = np.float32([[9, 9, 9, 9, 1, 2, 3, 4], [0, 0, np.nan, -9, 9, 9, 2, 2.5]])
    np.testing.assert_array_equal(bounded_growth(deltas, np.array([2, 3])), np.float32(
        [[9, 9, 2, 3, 1, 2, 2, 3], [0, 0, np.nan, -9, 9, 9, 2, 2.5]]))
    assert deltas[0, 2] == 9 and bounded_growth(deltas, 2.0).dtype == np.float32
    assert DEFAULTS.COMPAT.BBOX_GROWTH == MOST_GROWTH


def test_growth_below_the_bound_is_the_public_codes():
    deltas = np.float32([[0.1, -0.2, 70, -3]])
    boxes = np.float32([[0, 0, 15, 15]])
    w = np.exp(np.float32(70)) * np.float32(16)
    centre = np.float32(0.1) * np.float32(16) + np.float32(8)
    assert bbox_transform_inv(boxes, deltas)[0, 2] == centre + np.float32(0.5) * w
