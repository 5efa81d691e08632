"""Position-sensitive layers: RoIs that see nothing of the map, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

import caffe
from caffe.engine.formats.prototxt import read_net
from caffe.engine.net.net import Net

OPTIONS = {"PSROIAlign": "psroi_align_param", "PSROIPooling": "psroi_pooling_param",
           "DeformablePSROIPooling": "deformable_psroi_pooling_param"}
COMMON = "spatial_scale: 1 output_dim: 2 group_size: 2"


def net(kind: str, options: str, *more: tuple[int, ...], channels: int = 8) -> Net:
    shapes = [(1, channels, 5, 5), (2, 5), *more]
    inputs = " ".join(
        f'layer {{ name: "x{i}" type: "Input" top: "x{i}" input_param {{ shape {{ '
        f'{" ".join(f"dim: {n}" for n in shape)} }} }} }}' for i, shape in enumerate(shapes))
    bottoms = " ".join(f'bottom: "x{i}"' for i in range(len(shapes)))
    return Net.from_proto(read_net(
        f'force_backward: true {inputs} layer {{ name: "l" type: "{kind}" {bottoms} top: "y" '
        f'{OPTIONS[kind]} {{ {COMMON} {options} }} }}'), caffe.TEST)


@pytest.mark.parametrize("kind, options", [
    ("PSROIAlign", ""), ("DeformablePSROIPooling", "pooled_size: 2 no_trans: true")])
def test_a_roi_outside_the_map_gives_0_and_no_gradient(kind, options):
    built = net(kind, options)
    built.blobs["x0"].data[...] = 1
    built.blobs["x1"].data[...] = [[0, 20, 20, 30, 30], [0, 1, 1, 3, 3]]
    y = built.forward()["y"]
    assert not y[0].any() and (y[1] == 1).all()
    built.blobs["y"].diff[0] = 1
    built.backward()
    assert not np.any(built.blobs["x0"].diff)


def test_moves_that_no_trans_turns_off_change_nothing():
    built = net("DeformablePSROIPooling", "pooled_size: 2 trans_std: 1 no_trans: true",
                (2, 2, 2, 2))
    built.blobs["x0"].data[...] = np.random.default_rng(0).normal(size=(1, 8, 5, 5))
    built.blobs["x1"].data[...] = [0, 1, 1, 3, 3]
    still = built.forward()["y"].copy()
    built.blobs["x2"].data[...] = 1
    np.testing.assert_array_equal(built.forward()["y"], still)


@pytest.mark.parametrize("kind, options, more, channels, said", [
    ("PSROIPooling", "", [], 9, "output_dim 2 and group_size 2 need 8 channels"),
    ("PSROIAlign", "sample_num: 0", [], 8, "sample_num must be at least 1, got 0"),
    ("DeformablePSROIPooling", "no_trans: true", [], 8, "needs pooled_size"),
    ("DeformablePSROIPooling", "pooled_size: 2", [], 8, r"third bottom \(moves\) or no_trans"),
    ("DeformablePSROIPooling", "pooled_size: 2", [(2, 2, 3, 3)], 8,
     r"must be \(2, 2 K, 2, 2\), K a divisor of output_dim 2, got \(2, 2, 3, 3\)"),
    ("DeformablePSROIPooling", "pooled_size: 2", [(2, 6, 2, 2)], 8, "K a divisor"),
])
def test_refusals(kind, options, more, channels, said):
    with pytest.raises(caffe.LayerError, match=f'layer "l" \\({kind}\\).*{said}'):
        net(kind, options, *more, channels=channels)
