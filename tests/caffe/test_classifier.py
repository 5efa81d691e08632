"""Classifier: images of any size in, class scores out."""

import numpy as np
import pytest

import caffe
from caffe import io

NET = """
layer { name: "data" type: "Input" top: "data"
        input_param { shape { dim: 4 dim: 3 dim: 5 dim: 5 } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
        inner_product_param { num_output: 7 weight_filler { type: "xavier" } } }
layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }
"""


@pytest.fixture
def files(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(NET)
    caffe.set_random_seed(3)
    caffe.Net(str(path), caffe.TEST).save(str(tmp_path / "net.caffemodel"))
    return str(path), str(tmp_path / "net.caffemodel")


def scores(net, crops):
    """By the weights themselves."""
    data = np.array([net.transformer.preprocess("data", c) for c in crops]).reshape(len(crops), -1)
    z = np.exp(data @ net.params["ip"][0].data.T + net.params["ip"][1].data)
    return z / z.sum(1, keepdims=True)


def test_it_is_a_net(files):
    net = caffe.Classifier(*files)
    assert isinstance(net, caffe.Net)
    assert list(net.crop_dims) == [5, 5] and list(net.image_dims) == [5, 5]
    assert net.transformer.transpose == {"data": (2, 0, 1)} and not net.transformer.mean


@pytest.mark.parametrize("kind", [caffe.Classifier, caffe.Detector])
def test_a_net_of_training_is_no_classifier(kind, tmp_path):
    path = tmp_path / "train.prototxt"
    path.write_text('layer { name: "d" type: "DummyData" top: "d" '
                    "dummy_data_param { shape { dim: 1 } } }")
    with pytest.raises(caffe.CaffeError, match="take the deploy.prototxt"):
        kind(str(path), None)


def test_scores_of_the_centre(files):
    net = caffe.Classifier(*files, image_dims=(9, 8), mean=np.array([.1, .2, .3]), raw_scale=2,
                           input_scale=.5, channel_swap=(2, 1, 0))
    images = np.random.rand(6, 11, 13, 3).astype(np.float32)       # more than a batch
    found = net.predict(images, oversample=False)
    resized = [io.resize_image(image, (9, 8)) for image in images]
    np.testing.assert_allclose(found, scores(net, [r[2:7, 1:6] for r in resized]), rtol=1e-4)
    assert found.shape == (6, 7)


def test_scores_of_ten_crops_are_averaged(files):
    net = caffe.Classifier(*files, image_dims=(9, 8))
    images = [np.random.rand(11, 13, 3), np.random.rand(20, 20, 3)]     # of several sizes
    found = net.predict(images)
    crops = io.oversample([io.resize_image(image, (9, 8)) for image in images], (5, 5))
    np.testing.assert_allclose(found, scores(net, crops).reshape(2, 10, 7).mean(1), rtol=1e-4)
