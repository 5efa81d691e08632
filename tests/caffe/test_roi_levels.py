"""ROIWarping from a feature pyramid: which map a RoI is taken from, values and gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import caffe
from caffe import ops
from caffe.engine.errors import LayerError
from caffe.ops.roi_levels import level_of

SIDES = (4, 8, 9, 16, 17, 400)      # of square RoIs; 8 cells of the first map are 16 pixels


def test_levels_by_hand():
    """4 x 4 samples at scale 1/2: up to 8 pixels a side on the first map, up to 16, and the rest."""
    rois = torch.tensor([[0, 1, 2, 1 + side, 2 + side] for side in SIDES], dtype=torch.float64)
    assert level_of(rois, (4, 4), 0.5, 3).tolist() == [0, 0, 1, 1, 2, 2]
    assert level_of(rois, (4, 4), 0.5, 1).tolist() == [0] * 6
    flat = torch.tensor([[0, 0, 0, 64, 1.0], [0, 5, 5, 2, 2]])      # one long, one inside out
    assert level_of(flat, (4, 4), 0.5, 3).tolist() == [0, 0]


@pytest.fixture
def pyramid():
    rng = np.random.default_rng(3)
    maps = [torch.from_numpy(rng.normal(size=(2, 3, 28 >> i, 44 >> i))) for i in range(3)]
    corners = rng.uniform(0, 20, (7, 2))
    sides = np.array([5, 30, 12, 70, 9, 14, 3])[:, None] * rng.uniform(.9, 1.1, (7, 2))
    image = np.array([0, 1, 0, 1, 1, 0, 1])[:, None]
    return maps, torch.from_numpy(np.hstack((image, corners, corners + sides)))


def warped(maps, rois, mode=ops.Mode.EXACT):
    return ops.across_levels(lambda x, rows, scale: ops.roi_warping(x, rows, 4, 6, scale, mode),
                             maps, rois, (4, 6), 0.5)


@pytest.mark.parametrize("mode", (ops.Mode.EXACT, ops.Mode.REFERENCE))
def test_each_roi_comes_from_its_map(pyramid, mode):
    maps, rois = pyramid
    levels = level_of(rois, (4, 6), 0.5, 3).tolist()
    assert set(levels) == {0, 1, 2}
    found = warped(maps, rois, mode)
    for row, level in enumerate(levels):
        alone = ops.roi_warping(maps[level], rois[row:row + 1], 4, 6, 0.5 / 2 ** level, mode)
        assert torch.equal(found[row], alone[0])
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_gradients_of_maps_and_rois(pyramid):
    """Central differences in float64, of the maps and of the coordinates."""
    maps, rois = pyramid
    inputs = [x.clone().requires_grad_() for x in (*maps, rois[:, 1:])]

    def compute(*x):
        return warped(x[:-1], torch.cat((rois[:, :1], x[-1]), 1))

    assert torch.autograd.gradcheck(compute, inputs, fast_mode=True)


def net_of(folder, text):
    (folder / "net.prototxt").write_text(text)
    return caffe.Net(str(folder / "net.prototxt"), caffe.TEST)


def test_the_layer_and_its_fused_form(pyramid, tmp_path):
    maps, rois = (pyramid[0], pyramid[1].float())
    maps = [x.float() for x in maps]
    inputs = "".join(f'input: "p{i}" input_shape {{ dim: 2 dim: 3 dim: {28 >> i} dim: {44 >> i} }} '
                     for i in range(3))
    net = net_of(tmp_path, inputs + """input: "rois" input_shape { dim: 7 dim: 5 }
        layer { name: "warp" type: "ROIWarping" bottom: "p0" bottom: "p1" bottom: "p2" bottom: "rois"
                top: "warp" roi_warping_param { pooled_h: 4 pooled_w: 6 spatial_scale: 0.5
                                                mode: EXACT } }
        layer { name: "pool" type: "Pooling" bottom: "warp" top: "pool"
                pooling_param { kernel_size: 2 stride: 2 } }""")
    for name, value in zip(("p0", "p1", "p2", "rois"), (*maps, rois)):
        net.blobs[name].data[...] = value.numpy()
    net.forward()
    assert np.array_equal(net.blobs["warp"].data, warped(maps, rois).numpy())
    pooled = net.blobs["pool"].data.copy()
    net.optimize(["pool"])
    net.forward()
    assert np.array_equal(net.blobs["pool"].data, pooled)


def test_no_rois_and_one_level_only(pyramid):
    maps, rois = pyramid
    assert warped(maps, rois[:0]).shape == (0, 3, 4, 6)
    small = rois[[0, 6]].clone()
    assert torch.equal(warped(maps, small), ops.roi_warping(maps[0], small, 4, 6, 0.5, 1))


def test_maps_of_other_channels_are_refused(tmp_path):
    with pytest.raises(LayerError, match="the same images and channels"):
        net_of(tmp_path, """input: "a" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 }
            input: "b" input_shape { dim: 1 dim: 4 dim: 4 dim: 4 }
            input: "r" input_shape { dim: 1 dim: 5 }
            layer { name: "w" type: "ROIWarping" bottom: "a" bottom: "b" bottom: "r" top: "w"
                    roi_warping_param { pooled_h: 2 pooled_w: 2 } }""")
