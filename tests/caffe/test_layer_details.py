"""What layers do beside computing: random numbers, running statistics, ties, errors that help."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import caffe
from caffe.engine.blob import Blob
from caffe.engine.errors import LayerError
from caffe.engine.formats.prototxt import read_net
from caffe.engine.layer import TorchLayer, exactly
from caffe.engine.net.net import Net
from caffe.proto import caffe_pb2


def net(layer, *shapes, phase=caffe.TEST, force=False):
    inputs = "".join(f"input: 'b{i}' input_shape {{ {' '.join(f'dim: {n}' for n in shape)} }}\n"
                     for i, shape in enumerate(shapes))
    bottoms = " ".join(f"bottom: 'b{i}'" for i in range(len(shapes)))
    return Net.from_proto(read_net(f"force_backward: {str(force).lower()}\n{inputs}"
                                   f"layer {{ name: 'l' {bottoms} {layer} }}"), phase)


@pytest.mark.parametrize("scale_train, kept", (("true", 2.0), ("false", 1.0)))
def test_dropout_keeps_its_share_and_backward_uses_the_same_mask(scale_train, kept):
    caffe.set_random_seed(3)
    n = net(f"type: 'Dropout' top: 'y' dropout_param {{ scale_train: {scale_train} }}", (100, 100),
            phase=caffe.TRAIN, force=True)
    n.blobs["b0"].data[...] = 1
    y = n.forward()["y"].copy()
    assert set(np.unique(y)) == {0, kept} and abs((y > 0).mean() - 0.5) < 0.02
    n.blobs["y"].diff[...] = 3
    n.backward()
    np.testing.assert_array_equal(n.blobs["b0"].diff, 3 * y)


@pytest.mark.parametrize("options, value", [("scale: 0 shift: 3 power: 2", 9), ("power: 0", 1),
                                            ("scale: 0 shift: 0 power: -1", np.inf)])
def test_power_of_nothing_is_a_constant_whatever_comes_in(options, value):
    n = net(f"type: 'Power' top: 'y' power_param {{ {options} }}", (4,), force=True)
    n.blobs["b0"].data[...] = [1, np.inf, -np.inf, np.nan]
    assert (n.forward()["y"] == value).all()
    n.blobs["b0"].diff[...] = 7
    n.backward(y=np.ones(4))
    assert (n.blobs["b0"].diff == 0).all()


def test_dropout_repeats_with_the_seed():
    n = net("type: 'Dropout' top: 'y'", (4, 5), phase=caffe.TRAIN)
    n.blobs["b0"].data[...] = 1
    runs = []
    for seed in (1, 1, 2):
        caffe.set_random_seed(seed)
        runs.append(n.forward()["y"].copy())
    assert (runs[0] == runs[1]).all() and (runs[0] != runs[2]).any()


def test_batch_norm_counts_each_forward_once_though_backward_replays_it():
    n = net("type: 'BatchNorm' top: 'y' batch_norm_param { use_global_stats: false "
            "moving_average_fraction: 0.5 }", (4, 1), force=True)
    n.blobs["b0"].data[...] = [[1], [2], [3], [6]]
    n.forward()
    n.backward()
    mean, variance, weight = (p.data[0] for p in n.params["l"])
    assert (mean, weight) == (3, 1) and variance == pytest.approx(14 / 3)     # 14 / (4 - 1)
    n.forward()
    assert [p.data[0] for p in n.params["l"]] == pytest.approx([4.5, 7, 1.5])


@pytest.mark.parametrize("stored", ["true", "false"])
def test_the_gradient_of_one_image_counts_in_any_layout(stored):
    n = net(f"type: 'BatchNorm' top: 'y' batch_norm_param {{ use_global_stats: {stored} }}",
            (1, 4, 6, 8), force=True)
    n.params["l"][1].data[...] = n.params["l"][2].data[...] = 1
    random = np.random.RandomState(0)
    n.blobs["b0"].data[...] = random.randn(1, 4, 6, 8)
    n.forward()
    gradient = torch.from_numpy(random.randn(*n.blobs["y"].shape).astype(np.float32))
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        n.blobs["y"].diff_tensor = gradient.contiguous(memory_format=layout)
        n._backward(1, 0)
        found.append(n.blobs["b0"].diff_tensor.clone())
    torch.testing.assert_close(*found, check_stride=False)


def test_eltwise_max_gives_a_tie_to_the_second():
    n = net("type: 'Eltwise' top: 'y' eltwise_param { operation: MAX }", (1, 2), (1, 2), force=True)
    n.blobs["b0"].data[...], n.blobs["b1"].data[...] = [[1, 5]], [[1, 2]]
    n.forward()
    n.backward(y=np.ones((1, 2)))
    assert n.blobs["b0"].diff.tolist() == [[0, 1]] and n.blobs["b1"].diff.tolist() == [[1, 0]]


def test_accuracy_of_ties_and_of_nothing():
    n = net("type: 'Accuracy' top: 'y' top: 'each' accuracy_param { ignore_label: 2 }", (4, 3), (4,))
    n.blobs["b0"].data[...] = [[1, 1, 0], [3, 1, 0], [0, 1, 0], [0, 0, 1]]
    n.blobs["b1"].data[...] = [0, 0, 1, 2]
    out = n.forward()
    assert out["y"] == pytest.approx(2 / 3) and out["each"].tolist() == [0.5, 1, 0]
    n.blobs["b1"].data[...] = 2
    assert n.forward()["y"] == 0


def test_accuracy_of_labels_that_are_no_class():
    n = net("type: 'Accuracy' top: 'y' top: 'each'", (4, 3), (4,))
    n.blobs["b0"].data[...] = [[1, 0, 0]] * 4
    n.blobs["b1"].data[...] = [0, -1, 3, 0]
    out = n.forward()
    assert out["y"] == 0.5 and out["each"].tolist() == [1, 0, 0]


def test_softmax_loss_of_a_hopeless_score_is_finite_and_still_has_a_gradient():
    n = net("type: 'SoftmaxWithLoss' top: 'y'", (1, 2), (1,), force=True)
    n.blobs["b0"].data[...], n.blobs["b1"].data[...] = [[0, 1000]], [0]
    assert n.forward()["y"] == pytest.approx(87.3365, abs=1e-3)
    n.backward()
    assert n.blobs["b0"].diff.tolist() == [[-1, 1]]


def test_split_tops_are_one_memory():
    n = net("type: 'Split' top: 's' top: 't'", (2, 3))
    n.forward()
    n.blobs["s"].data[...] = 7
    assert (n.blobs["t"].data == 7).all() and (n.blobs["b0"].data == 7).all()


def test_a_window_without_a_pixel():
    n = net("type: 'Pooling' top: 'y' top: 'i' pooling_param { kernel_size: 1 stride: 4 }",
            (1, 1, 1, 6))
    n.blobs["b0"].data[...] = 5
    out = n.forward()
    assert out["y"].ravel().tolist() == [5, 5, np.float32(-3.4028235e38)]
    assert out["i"].ravel().tolist() == [0, 4, -1]


@pytest.mark.parametrize("layer, shapes, words", [
    ("type: 'Convolution' top: 'y' convolution_param { num_output: 4 kernel_size: 3 group: 3 }",
     [(1, 3, 5, 5)], "num_output has 4 .* not a multiple of group 3"),
    ("type: 'Convolution' top: 'y' convolution_param { num_output: 4 }", [(1, 3, 5, 5)],
     "kernel_size is missing"),
    ("type: 'Convolution' top: 'y' convolution_param { num_output: 4 kernel_size: 3 kernel_h: 2 }",
     [(1, 3, 5, 5)], "exclude kernel_size"),
    ("type: 'Convolution' top: 'y' convolution_param { num_output: 4 kernel_size: 7 }",
     [(1, 3, 5, 5)], r"kernel \(7, 7\) .* does not fit a bottom of shape \(1, 3, 5, 5\)"),
    ("type: 'Pooling' top: 'y' pooling_param { kernel_size: 2 pad: 2 }", [(1, 3, 5, 5)],
     "pad .* must be smaller than the kernel"),
    ("type: 'Pooling' top: 'y' pooling_param { kernel_size: 2 }", [(3, 5)], "must have 4 axes"),
    ("type: 'Pooling' top: 'y' pooling_param { global_pooling: true stride: 2 }", [(1, 3, 5, 5)],
     "global_pooling takes no stride"),
    ("type: 'InnerProduct' top: 'y'", [(2, 3)], "num_output is missing"),
    ("type: 'Softmax' top: 'y' softmax_param { axis: 2 }", [(2, 3)], "axis 2 does not exist"),
    ("type: 'SoftmaxWithLoss' top: 'y'", [(2, 3), (3,)], "need 2 labels, got 3"),
    ("type: 'SigmoidCrossEntropyLoss' top: 'y' loss_param { ignore_label: 1 }",
     [(2, 3)] * 3, "ignore_label cannot be used together with a third bottom"),
    ("type: 'SmoothL1Loss' top: 'y'", [(2, 3)] * 5, "takes 2 to 4 bottom"),
    ("type: 'BatchNorm' top: 'y' param { lr_mult: 1 }", [(2, 3)], "write lr_mult: 0"),
    ("type: 'Reshape' top: 'y' reshape_param { shape { dim: 4 dim: -1 } }", [(2, 3)],
     r"cannot make .* from a bottom of shape \(2, 3\)"),
    ("type: 'AbsVal' top: 'b0'", [(2, 3)], "cannot run in place"),
    ("type: 'Eltwise' top: 'y'", [(2, 3), (3, 2)], "must have one shape"),
    ("type: 'Slice' top: 'y' top: 'z'", [(2, 3)], "cannot be cut into 2 equal parts"),
    ("type: 'Concat' top: 'y'", [(2, 3), (3, 3)], "may differ on axis 1 only"),
    ("type: 'Scale' top: 'y' scale_param { axis: 1 num_axes: 2 }", [(2, 3)], "2 axes from axis 1"),
    ("type: 'ROIWarping' top: 'y' roi_warping_param { pooled_h: 2 }", [(1, 3, 5, 5), (2, 5)],
     "pooled_h and pooled_w must be at least 1"),
    ("type: 'ROIPooling' top: 'y' roi_pooling_param { pooled_h: 2 pooled_w: 2 }",
     [(1, 3, 5, 5), (2, 4)], r"rois\) must be \(R, 5\)"),
    ("type: 'MaskPooling' top: 'y'", [(2, 3, 5, 5), (2, 3, 5, 5)], r"must be \(2, 1, 5, 5\)"),
])
def test_an_error_names_the_layer_and_the_reason(layer, shapes, words):
    with pytest.raises(LayerError, match=f'layer "l" .*{words}'):
        net(layer, *shapes).forward()


def test_stochastic_pooling_draws_in_proportion_to_the_values():
    caffe.set_random_seed(3)
    n = net("type: 'Pooling' top: 'y' pooling_param { pool: STOCHASTIC kernel_size: 2 stride: 2 }",
            (1000, 1, 2, 2), phase=caffe.TRAIN, force=True)
    n.blobs["b0"].data[...] = [[[0, 1], [3, 4]]]
    y = n.forward()["y"].ravel()
    assert [round((y == v).mean(), 1) for v in (0, 1, 3, 4)] == [0, 0.1, 0.4, 0.5]
    n.blobs["y"].diff[...] = 7
    n.backward()
    drawn = n.blobs["b0"].data == y[:, None, None, None]
    np.testing.assert_array_equal(n.blobs["b0"].diff, 7 * drawn)


def test_stochastic_pooling_of_zeros_is_zero():
    options = "pooling_param { pool: STOCHASTIC kernel_size: 2 }"
    for phase in (caffe.TRAIN, caffe.TEST):
        assert not net(f"type: 'Pooling' top: 'y' {options}", (1, 1, 2, 2),
                       phase=phase).forward()["y"].any()
    with pytest.raises(LayerError, match="STOCHASTIC takes no pad"):
        net("type: 'Pooling' top: 'y' pooling_param { pool: STOCHASTIC kernel_size: 2 pad: 1 }",
            (1, 1, 2, 2))


def test_spp_says_when_a_map_is_too_small():
    with pytest.raises(LayerError, match=r"too small for the 4 x 4 windows of pyramid_height 3"):
        net("type: 'SPP' top: 'y' spp_param { pyramid_height: 3 }", (1, 1, 5, 8))


def test_filter_of_no_item_and_back_again():
    n = net("type: 'Filter' top: 'y'", (3, 2), (3,), force=True)
    assert n.blobs["y"].shape == (3, 2)
    n.forward()
    assert n.blobs["y"].shape == (0, 2)
    n.backward()
    assert not n.blobs["b0"].diff.any()
    n.blobs["b1"].data[...] = [1, 0, -1]
    n.blobs["b0"].data[...] = [[1, 2], [3, 4], [5, 6]]
    assert n.forward()["y"].tolist() == [[1, 2], [5, 6]]
    n.blobs["y"].diff[...] = [[1, 1], [2, 2]]
    n.backward()
    assert n.blobs["b0"].diff.tolist() == [[1, 1], [0, 0], [2, 2]]


def test_infogain_matrix_comes_from_a_file(tmp_path):
    path = tmp_path / "h.binaryproto"
    options = f"type: 'InfogainLoss' top: 'y' infogain_loss_param {{ source: '{path}' }}"
    for content, wrong in ((None, "No such file"), (b"\xff", "not a BlobProto")):
        if content:
            path.write_bytes(content)
        with pytest.raises(LayerError, match=rf'"l" \(InfogainLoss\): .*{wrong}'):
            net(options, (2, 3), (2,))
    blob = caffe_pb2.BlobProto(data=[1, 0, 0, 0, 2, 0, 0, 0, 3])
    blob.shape.dim.extend((3, 3))
    path.write_bytes(blob.SerializeToString())
    n = net(options, (2, 3), (2,))
    n.blobs["b1"].data[...] = [0, 2]
    assert n.forward()["y"] == pytest.approx((1 + 3) * np.log(3) / 2)
    with pytest.raises(LayerError, match=r"H must hold 4 x 4 values"):
        net(options, (2, 4), (2,))
    with pytest.raises(LayerError, match="write normalization: BATCH_SIZE"):
        net(options + " loss_param { normalize: false }", (2, 3), (2,))


def test_inner_products_of_items_without_values_have_gradients_without_values():
    net = caffe.Net("""layer { name: "x" type: "DummyData" top: "x" dummy_data_param { shape { dim: 2 dim: 0 } } }
        layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip" inner_product_param { num_output: 3 } }
        layer { name: "loss" type: "Reduction" bottom: "ip" top: "loss" loss_weight: 1 }""", caffe.TRAIN)
    net.forward()
    net.backward()
    assert net.params["ip"][0].diff.shape == (3, 0) and (net.params["ip"][1].diff == 2).all()


@pytest.mark.parametrize("images", (1, 2))
def test_batch_norm_keeps_the_layout_and_has_the_gradient_of_either(images):
    """Of one image torch has mistaken the layout before, and given a wrong gradient."""
    torch.manual_seed(0)
    x, g = torch.randn(2, images, 3, 5, 7)
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        n = net("type: 'BatchNorm' top: 'y'", x.shape, phase=caffe.TRAIN, force=True)
        n.blobs["b0"].tensor = x.contiguous(memory_format=layout)
        n.run()
        assert n.blobs["y"].tensor.is_contiguous(memory_format=layout)
        n.blobs["y"].diff_tensor = g.contiguous(memory_format=layout)
        n.run_backward()
        found.append((n.blobs["y"].tensor, n.blobs["b0"].diff_tensor))
    wide = x.double().requires_grad_(True)
    centred = wide - wide.mean((0, 2, 3), keepdim=True)
    y = centred / (centred.square().mean((0, 2, 3), keepdim=True) + 1e-5).sqrt()
    y.backward(g.double())
    for value, gradient in found:
        torch.testing.assert_close(value.double(), y.detach(), atol=1e-5, rtol=0)
        torch.testing.assert_close(gradient.double(), wide.grad, atol=1e-5, rtol=0)


class Twice(TorchLayer):
    """x * x: one operator, which takes its variable twice"""

    num_bottom = num_top = exactly(1)

    def compute(self, x):
        return x * x


class Broadcast(TorchLayer):
    """x + b, b (1, 3): one operator, whose gradient for b has the shape of x"""

    num_bottom = num_top = exactly(1)

    def setup(self, bottom, top):
        self.add_blob((1, 3))

    def compute(self, x, b):
        return x + b


@pytest.mark.parametrize("kind, of_x, of_b", ((Twice, [[2, 4, 6]] * 2, []),
                                              (Broadcast, [[1] * 3] * 2, [[[2] * 3]])))
def test_the_gradient_of_a_single_operator_is_whole(kind, of_x, of_b):
    layer = kind(caffe_pb2.LayerParameter(name="l", type="Twice"))
    bottom, top = Blob((2, 3)), Blob()
    bottom.data[...] = [1, 2, 3]
    layer.setup([bottom], [top])
    layer.recording, layer.bottom_needs_gradient = True, [True]
    layer.blob_needs_gradient = [True] * len(layer.blobs)
    layer.forward([bottom], [top])
    top.diff[...] = 1
    layer.backward([top], [True], [bottom])
    assert bottom.diff.tolist() == of_x
    assert [b.diff.tolist() for b in layer.blobs] == of_b


def test_filters_lie_as_kernels_want_them_until_a_user_looks():
    """And an image of one channel, whose own order is open, makes a map in channels-last."""
    net = caffe.Net.from_proto(read_net("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 1 dim: 8 dim: 7 } } }
        layer { name: "c" type: "Convolution" bottom: "x" top: "y" convolution_param {
          num_output: 4 kernel_size: 3 weight_filler { type: "gaussian" std: 1 } } }"""), caffe.TEST)
    before = net.params["c"][0].tensor.clone().contiguous()
    assert net.params["c"][0].tensor.stride() == (9, 1, 3, 1)
    first = net.forward(x=np.ones((2, 1, 8, 7)))["y"].copy()
    assert net._blob("y").tensor.shape == first.shape
    assert np.array_equal(net.params["c"][0].data, before.numpy())
    net.params["c"][0].data[...] *= 2
    second = net.forward()["y"]
    np.testing.assert_allclose(second, 2 * first, rtol=1e-6, atol=1e-5)     # sums of nine weights of size 1


def test_pooling_follows_other_sizes_and_back():
    net = caffe.Net.from_proto(read_net("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 1 dim: 4 dim: 4 } } }
        layer { name: "p" type: "Pooling" bottom: "x" top: "y" pooling_param {
          kernel_size: 3 stride: 2 } }
        layer { name: "q" type: "Pooling" bottom: "x" top: "z" pooling_param {
          pool: AVE kernel_size: 3 stride: 2 } }"""), caffe.TEST)
    for side, most, mean in ((4, [[10, 11], [14, 15]], [[5, 6.5], [11, 12.5]]), (3, [[8]], [[4]]),
                             (4, [[10, 11], [14, 15]], [[5, 6.5], [11, 12.5]])):
        net.blobs["x"].reshape(1, 1, side, side)
        found = net.forward(x=np.arange(float(side * side)).reshape(1, 1, side, side))
        assert np.array_equal(found["y"][0, 0], most)
        np.testing.assert_allclose(found["z"][0, 0], mean)
