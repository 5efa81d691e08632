"""DetectNet's grid says where objects are, also when the image was changed."""

from __future__ import annotations

import numpy as np
import pytest

import caffe
from caffe.engine.formats.prototxt import read_net
from caffe.engine.net.net import Net

TRUTH = ("stride: 4 scale_cvg: 0.5 gridbox_type: GRIDBOX_MIN min_cvg_len: 4 image_size_x: 32 "
         "image_size_y: 24 obj_norm: true object_class { src: 2 dst: 1 }")


def net(phase, augmentation="", truth=TRUTH):
    return Net.from_proto(read_net(
        "input: 'data' input_shape { dim: 1 dim: 3 dim: 24 dim: 32 } input: 'label' "
        "input_shape { dim: 1 dim: 1 dim: 4 dim: 16 } layer { name: 'l' "
        "type: 'DetectNetTransformation' bottom: 'data' bottom: 'label' top: 'x' top: 'y' "
        f"transform_param {{ mean_value: 127.5 }} detectnet_groundtruth_param {{ {truth} }} "
        f"detectnet_augmentation_param {{ {augmentation} }} }}"), phase)


def fill(n, *objects):
    """A bright rectangle for each object (x, y, width, height, class)"""
    n.blobs["data"].data[...], n.blobs["label"].data[...] = 10, 0
    rows = n.blobs["label"].data[0, 0]
    rows[0, :2] = len(objects), 16
    for row, (x, y, w, h, label) in zip(rows[1:], objects):
        row[:4], row[5] = (x, y, w, h), label
        n.blobs["data"].data[0, :, y:y + h, x:x + w] = 250


def test_the_grid_of_an_object():
    n = net(caffe.TEST)
    fill(n, (8, 4, 16, 12, 2), (0, 0, 8, 8, 7))
    n.forward()
    np.testing.assert_allclose(n.blobs["x"].data, n.blobs["data"].data - 127.5, atol=1e-4)
    y = n.blobs["y"].data[0]
    assert y.shape == (10, 6, 8) and not y[8].any()
    # Its middle part is 8 x 6 pixels at (12, 7): columns 3 to 4, rows 1 to 3.
    marked = np.zeros((6, 8))
    marked[1:4, 3:5] = 1
    np.testing.assert_array_equal(y[0], marked)
    np.testing.assert_array_equal(y[9], marked)
    np.testing.assert_allclose(y[1:8, 2, 4], [8 - 16, 4 - 8, 24 - 16, 16 - 8, 1 / 16, 1 / 12,
                                              16 / 48], rtol=1e-6)


@pytest.mark.parametrize("text", [
    "flip_prob: 1", "scale_prob: 1 scale_min: 1.2 scale_max: 1.5", "shift_x: 6 shift_y: 6",
    "rotation_prob: 1 max_rotate_degree: 4", "hue_rotation_prob: 1 desaturation_prob: 1"])
def test_boxes_go_where_their_pixels_go(text):
    """In training: each corner that the grid gives is one of the bright rectangle's."""
    off = {"crop_prob": 1, "flip_prob": 0, "scale_prob": 0, "rotation_prob": 0,
           "hue_rotation_prob": 0, "desaturation_prob": 0}
    caffe.set_random_seed(3)
    n = net(caffe.TRAIN, " ".join(f"{k}: {v}" for k, v in off.items() if k not in text) + " "
            + text)
    for _ in range(4):
        fill(n, (10, 8, 12, 8, 2))
        n.forward()
        bright = n.blobs["x"].data[0].mean(0) > 30
        rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
        y = n.blobs["y"].data[0]
        j, i = (int(k[0]) for k in np.nonzero(y[0]))
        corners = y[1:5, j, i] + [4 * i, 4 * j] * 2
        wanted = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        assert np.abs(corners - wanted).max() <= 1.6


def test_without_classes_the_first_is_a_car():
    n = net(caffe.TEST, truth=TRUTH.replace("object_class { src: 2 dst: 1 }", ""))
    fill(n, (8, 4, 16, 12, 1))
    n.forward()
    assert n.blobs["y"].data.shape[1] == 9 and n.blobs["y"].data[0, 8].any()
    with pytest.raises(caffe.LayerError, match=r"must be \(N, 3, H, W\) and"):
        n.blobs["label"].reshape(1, 1, 4, 15)
        n.forward()
