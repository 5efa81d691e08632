"""Detector: windows of images, with context from around them."""

import sys
import types

import cv2
import numpy as np
import pytest

import caffe
from caffe import io

NET = """
layer { name: "data" type: "Input" top: "data"
        input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }
layer { name: "mean" type: "Pooling" bottom: "data" top: "mean"
        pooling_param { pool: AVE global_pooling: true } }
layer { name: "flat" type: "Flatten" bottom: "mean" top: "flat" }
"""


@pytest.fixture
def detector(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(NET)
    caffe.Net(str(path), caffe.TEST).save(str(tmp_path / "net.caffemodel"))
    return lambda **options: caffe.Detector(str(path), str(tmp_path / "net.caffemodel"), **options)


@pytest.fixture
def image_file(tmp_path):
    image = np.zeros((20, 30, 3), np.uint8)
    image[:10], image[10:, :, 2] = (255, 0, 0), 255         # blue above red (cv2 is BGR)
    cv2.imwrite(str(tmp_path / "image.png"), image)
    return str(tmp_path / "image.png")


def test_windows_get_scores(detector, image_file):
    windows = np.array([[0, 0, 8, 9], [12, 3, 20, 30], [0, 0, 20, 30]])
    found = detector().detect_windows([(image_file, windows)])
    assert [d["filename"] for d in found] == [image_file] * 3
    np.testing.assert_array_equal([d["window"] for d in found], windows)
    np.testing.assert_allclose([d["prediction"] for d in found[:2]], [[0, 0, 1], [1, 0, 0]],
                               atol=1e-6)
    assert abs(found[2]["prediction"] - [.5, 0, .5]).max() < 0.05
    assert detector().detect_windows([]) == []


def test_a_crop_without_context_is_the_window(detector):
    image = np.random.rand(20, 30, 3)
    np.testing.assert_array_equal(detector().crop(image, (3, 4, 9, 14)), image[3:9, 4:14])


def test_context_inside_the_image_is_read_from_it(detector):
    image = np.random.rand(60, 60, 3).astype(np.float32)
    net = detector(context_pad=2)
    # 8 pixels of input, 2 each side for context: a window of half 5 reaches 8 / 4 * 5 = 10 far
    np.testing.assert_allclose(net.crop(image, np.array([20, 30, 29, 39])),
                               io.resize_image(image[15:35, 25:45], (8, 8)), atol=1e-6)


def test_context_outside_the_image_is_the_mean(detector):
    net = detector(context_pad=2, mean=np.array([.5, .25, .125]), raw_scale=2,
                   channel_swap=(2, 1, 0))
    image = np.full((60, 60, 3), 9, np.float32)
    crop = net.crop(image, np.array([0, 0, 9, 9]))
    np.testing.assert_allclose(crop[0, 0], [.0625, .125, .25])      # as RGB before scale and swap
    np.testing.assert_allclose(crop[-1, -1], 9)
    assert crop.shape == (8, 8, 3)
    assert (detector(context_pad=2).crop(image, (0, 0, 9, 9))[0] == 0).all()
    with pytest.raises(ValueError, match="outside the image"):
        net.crop(image, (200, 0, 209, 9))


def test_a_mean_image_stands_for_what_is_outside(detector):
    mean = np.random.rand(3, 8, 8).astype(np.float32)
    net = detector(context_pad=2, mean=mean)
    crop = net.crop(np.zeros((60, 60, 3), np.float32), np.array([0, 0, 9, 9]))
    np.testing.assert_allclose(crop[0], mean.transpose(1, 2, 0)[0])


def test_selective_search_is_asked_for_windows(detector, image_file, monkeypatch):
    with pytest.raises(caffe.CaffeError, match="selective_search_ijcv_with_python"):
        detector().detect_selective_search([image_file])
    module = types.ModuleType("selective_search_ijcv_with_python")
    module.get_windows = lambda files, cmd: [[(0, 0, 8, 9)] for _ in files]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert len(detector().detect_selective_search([image_file])) == 1
