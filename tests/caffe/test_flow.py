"""The layers of FlowNet2 where vectors and the contract say nothing: NaN, borders, refusals."""

from __future__ import annotations

import numpy as np
import pytest

import caffe
from caffe.engine.formats.prototxt import read_net
from caffe.engine.net.net import Net

NAN = np.nan


def net(kind: str, options: str, *shapes: tuple[int, ...]) -> Net:
    inputs = "".join(
        f'layer {{ name: "x{i}" type: "Input" top: "x{i}" input_param {{ shape {{ '
        f'{" ".join(f"dim: {n}" for n in shape)} }} }} }} ' for i, shape in enumerate(shapes))
    bottoms = " ".join(f'bottom: "x{i}"' for i in range(len(shapes)))
    text = f'force_backward: true {inputs} ' \
           f'layer {{ name: "l" type: "{kind}" {bottoms} top: "y" {options} }}'
    return Net.from_proto(read_net(text), caffe.TEST)


def test_what_flow_warp_finds_outside_the_image_is_the_fill_value():
    for fill, wanted in (("", [0, 0, 2, 0]), ("fill_value: NOT_A_NUMBER", [NAN, NAN, 2, NAN])):
        warp = net("FlowWarp", f"flow_warp_param {{ {fill} }}", (1, 1, 1, 4), (1, 2, 1, 4))
        warp.blobs["x0"].data[...] = [[[[1, 2, 3, 4]]]]
        warp.blobs["x1"].data[0, 0] = [[NAN, -2, -1, 1]]
        np.testing.assert_array_equal(warp.forward()["y"].ravel(), wanted)


def test_a_flow_of_whole_pixels_has_the_slope_towards_the_next_one():
    warp = net("FlowWarp", "", (1, 1, 1, 4), (1, 2, 1, 4))
    warp.blobs["x0"].data[...] = [[[[1, 3, 7, 8]]]]
    warp.forward()
    warp.blobs["y"].diff[...] = 1
    warp.backward()
    np.testing.assert_array_equal(warp.blobs["x1"].diff[0, 0], [[2, 4, 1, 0]])


def test_downsample_leaves_out_what_is_no_number():
    down = net("Downsample", "downsample_param { top_height: 2 top_width: 3 }", (1, 1, 2, 5))
    down.blobs["x0"].data[...] = [[[[1, 1, 1, 4, 4], [1, NAN, NAN, 4, NAN]]]]
    np.testing.assert_array_equal(down.forward()["y"][0, 0], [[1, 1.75, 4], [1, NAN, NAN]])


def test_no_gradient_where_a_norm_is_zero():
    norm = net("ChannelNorm", "", (1, 2, 1, 2))
    norm.blobs["x0"].data[0, :, 0, 0] = [3, -4]
    np.testing.assert_array_equal(norm.forward()["y"].ravel(), [5, 0])
    norm.blobs["y"].diff[...] = 10
    norm.backward()
    np.testing.assert_allclose(norm.blobs["x0"].diff[0, :, 0], [[6, 0], [-8, 0]], rtol=1e-6)


@pytest.mark.parametrize("kind, options, shapes, said", [
    ("FlowWarp", "", [(1, 3, 4, 5), (1, 2, 5, 4)], r"bottom 1 \(flow\) must be \(1, 2, 4, 5\), got"),
    ("Downsample", "downsample_param { top_height: 9 top_width: 2 }", [(1, 1, 5, 5)], "smaller"),
    ("Downsample", "", [(1, 1, 5, 5)], r"would become \(0, 0\)"),
    ("Resample", "resample_param { width: 3 }", [(1, 1, 5, 5)], r"would become \(0, 3\)"),
    ("Resample", "resample_param { factor: 2 type: AREA }", [(1, 1, 5, 5)], "use NEAREST, LINEAR"),
    ("GRN", "grn_param { dummy_backward: true }", [(1, 1, 5, 5)], "dummy_backward is not here"),
])
def test_refusals(kind, options, shapes, said):
    with pytest.raises(caffe.LayerError, match=f'layer "l" \\({kind}\\).*{said}'):
        net(kind, options, *shapes)
