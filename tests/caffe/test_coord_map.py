"""coord_map: where a pixel of one top lies in another, and the Crop that aligns them."""

import numpy as np
import pytest

import caffe
from caffe import layers as L
from caffe import params as P
from caffe.coord_map import (
    AxisMismatchException,
    UndefinedMapException,
    compose,
    conv_params,
    coord_map,
    coord_map_from_to,
    crop,
    crop_params,
    inverse,
)


def spec(ks=3, stride=1, pad=0, pool=2, upscale=2):
    """conv -> pool -> conv -> deconvolution that undoes the pooling."""
    n = caffe.NetSpec()
    n.data = L.Input(shape=dict(dim=[2, 1, 100, 100]))
    n.aux = L.Input(shape=dict(dim=[2, 1, 20, 20]))
    n.conv = L.Convolution(n.data, num_output=10, kernel_size=ks, stride=stride, pad=pad)
    n.pool = L.Pooling(n.conv, pool=P.Pooling.MAX, kernel_size=pool, stride=pool, pad=0)
    n.ip = L.ReLU(n.pool, in_place=True)
    n.deconv = L.Deconvolution(n.ip, convolution_param=dict(
        num_output=10, kernel_size=upscale, stride=upscale, pad=0))
    return n


def test_one_layer():
    axis, a, b = coord_map(spec(ks=5, stride=2, pad=1).conv.fn)
    assert (axis, a, b) == (1, 0.5, -0.5)                 # (1 - 2) / 2
    axis, a, b = coord_map(spec(upscale=4).deconv.fn)
    assert (axis, a, b) == (1, 4, 1.5)
    assert coord_map(L.ReLU(spec().data).fn) == (None, 1, 0)
    assert coord_map(L.Crop(spec().data, spec().aux, axis=2, offset=3).fn) == (1, 1, -3)


def test_options_of_layers():
    n = spec(ks=3)
    dilated = L.Convolution(n.data, kernel_size=3, dilation=4, num_output=1)
    axis, stride, extent, pad = conv_params(dilated.fn)
    assert (axis, stride, extent, pad) == (1, 1, 9, 0)
    assert crop_params(L.Crop(n.data, n.aux).fn) == (2, 0)
    with pytest.raises(AssertionError, match="kernel_h"):
        conv_params(L.Convolution(n.data, kernel_h=3, kernel_w=3).fn)


def test_a_padded_net_keeps_the_places():
    n = spec(pad=1)
    axis, a, b = coord_map_from_to(n.deconv, n.data)
    assert (axis, a, b) == (1, 1, 0)


def test_an_unpadded_net_loses_half_a_kernel():
    n = spec(ks=5)
    axis, a, b = coord_map_from_to(n.deconv, n.data)
    assert (axis, a, b) == (1, 1, 2)
    assert coord_map_from_to(n.data, n.deconv)[2] == -2


def test_rectangles_are_two_nets_at_once():
    squares = [spec(ks=3), spec(ks=5)]
    expected = [coord_map_from_to(n.deconv, n.data)[2][0] for n in squares]
    n = spec(ks=[3, 5])
    _, a, b = coord_map_from_to(n.deconv, n.data)
    assert (a == 1).all() and list(b) == expected


def test_a_crop_from_data_to_scores():
    n = spec(ks=5)
    n.crop = crop(n.data, n.deconv)
    layer = n.to_proto().layer[-1]
    assert (layer.type, layer.crop_param.axis, list(layer.crop_param.offset)) == ("Crop", 2, [2])
    assert list(layer.bottom) == ["data", "deconv"]


def test_a_crop_is_followed_through_its_first_bottom():
    n = spec(ks=5)
    n.crop = crop(n.data, n.deconv)
    _, a, b = coord_map_from_to(n.crop, n.data)
    assert (a, b) == (1, 2)
    with pytest.raises(RuntimeError, match="no coordinate map"):
        coord_map_from_to(n.crop, n.aux)


def test_cropping_says_why_it_cannot():
    n = spec(ks=5)
    with pytest.raises(AssertionError, match="scale mismatch"):
        crop(n.pool, n.data)
    with pytest.raises(AssertionError, match="negative offset"):
        crop(n.deconv, n.data)
    with pytest.raises(AssertionError, match="noninteger"):
        m = spec(ks=4)
        crop(m.data, m.deconv)
    with pytest.raises(AssertionError, match="already aligned"):
        crop(n.data, L.ReLU(n.data))


def test_layers_without_a_map():
    n = spec()
    with pytest.raises(UndefinedMapException, match="InnerProduct"):
        coord_map(L.InnerProduct(n.data, num_output=1).fn)
    with pytest.raises(UndefinedMapException, match="kernel_size"):
        coord_map(L.Pooling(n.data, global_pooling=True).fn)
    with pytest.raises(RuntimeError, match="no spatial layers"):
        coord_map_from_to(n.deconv, n.aux)


def test_maps_compose_and_invert():
    assert compose((1, 2, 3), (None, 5, 7)) == (1, 10, 17)
    assert compose((None, 1, 0), (2, 4, 1)) == (2, 4, 1)
    assert inverse((1, 2, 3)) == (1, 0.5, -1.5)
    with pytest.raises(AxisMismatchException):
        compose((1, 1, 0), (2, 1, 0))
    n = caffe.NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 1, 9, 9]))
    n.a = L.Convolution(n.data, kernel_size=3, axis=1)
    n.b = L.Convolution(n.a, kernel_size=3, axis=2)
    with pytest.raises(AxisMismatchException):
        coord_map_from_to(n.b, n.data)


def test_the_crop_computes_what_the_map_promises(tmp_path):
    n = spec(ks=5)
    n.crop = crop(n.data, n.deconv)
    (tmp_path / "n.prototxt").write_text(str(n.to_proto()))
    net = caffe.Net(str(tmp_path / "n.prototxt"), caffe.TEST)
    net.blobs["data"].data[...] = np.random.rand(2, 1, 100, 100)
    net.forward()
    np.testing.assert_array_equal(net.blobs["crop"].data, net.blobs["data"].data[:, :, 2:98, 2:98])
