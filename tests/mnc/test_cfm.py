"""Testing CFM: scales by area, groups of scales, the limit of RoIs a pass, proposals from files."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.io

import caffe
from mnc.data import DataError, get_dataset
from mnc.inference import TestSettings
from mnc.inference import test_dataset as run_test
from mnc.inference.cfm import ProposalFolder, choose, nearest_scale
from mnc.inference.cfm import cfm_detect as detect
from mnc.instances import InferenceError, Regions
from mnc.masks.targets import MaskForm, input_masks
from mnc.validation import Validation

# Features: the image itself, at a quarter of its size. Scores: of the masked features.
NET = """
name: "cfm"
input: "data"  input_shape { dim: 1 dim: 3 dim: 32 dim: 32 }
input: "rois"  input_shape { dim: 1 dim: 5 }
input: "masks" input_shape { dim: 1 dim: 1 dim: 14 dim: 14 }
layer { name: "conv5_3" type: "Pooling" bottom: "data" top: "conv5_3"
        pooling_param { pool: AVE kernel_size: 4 stride: 4 } }
layer { name: "roi" type: "ROIPooling" bottom: "conv5_3" bottom: "rois" top: "roi"
        roi_pooling_param { pooled_h: 14 pooled_w: 14 spatial_scale: 0.25 } }
layer { name: "masked" type: "MaskPooling" bottom: "roi" bottom: "masks" top: "masked" }
layer { name: "mask_pred" type: "InnerProduct" bottom: "roi" top: "mask_pred"
        inner_product_param { num_output: 441 weight_filler { type: "gaussian" std: 0.001 } } }
layer { name: "mask_prob" type: "Sigmoid" bottom: "mask_pred" top: "mask_prob" }
layer { name: "seg_cls_score" type: "InnerProduct" bottom: "masked" top: "seg_cls_score"
        inner_product_param { num_output: 6 weight_filler { type: "gaussian" std: 0.0005 } } }
layer { name: "seg_cls_prob" type: "Softmax" bottom: "seg_cls_score" top: "seg_cls_prob" }
"""


@pytest.fixture
def net(tmp_path):
    caffe.set_random_seed(3)
    (tmp_path / "cfm.prototxt").write_text(NET)
    return caffe.Net(str(tmp_path / "cfm.prototxt"), caffe.TEST)


@pytest.fixture
def cfm_cfg():
    from mnc.config import cfg, cfg_from_list

    cfg_from_list(["TEST.SCALES", "[60, 90, 120]", "TEST.MAX_SIZE", "300",
                   "TEST.GROUP_SCALE", "2", "TEST.MAX_ROIS_GPU", "[3, 2]"])
    return cfg


def some(count=17, seed=1):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 60, (count, 2))
    boxes = np.hstack((corner, corner + rng.uniform(18, 60, (count, 2)))).astype(np.float32)
    return Regions(boxes, rng.uniform(size=(count, 21, 21)).astype(np.float32))


def test_a_box_goes_to_the_scale_where_it_is_nearest_to_224():
    boxes = np.array([[0, 0, 223, 223], [0, 0, 111, 111], [0, 0, 447, 447], [0, 0, 60, 900]])
    assert nearest_scale(boxes, np.array([0.5, 1, 2])).tolist() == [1, 2, 0, 1]


def test_masks_are_cut_for_the_net():
    masks = np.zeros((1, 28, 28))
    masks[0, :14] = 1
    given = input_masks(masks, MaskForm(14, 0.4))
    assert given.shape == (1, 1, 14, 14) and given[0, 0, :7].all() and not given[0, 0, 7:].any()
    assert input_masks(masks[:0], MaskForm(14, 0.4)).shape == (0, 1, 14, 14)


def test_small_ones_go_and_the_first_stay():
    boxes = np.array([[0, 0, 15, 15], [0, 0, 14, 40], [3, 3, 40, 40], [0, 0, 30, 30]], np.float32)
    kept = choose(Regions(boxes, np.zeros((4, 2, 2))), 2)
    assert kept.boxes.tolist() == boxes[[0, 2]].tolist() and len(choose(kept, 0)) == 2


def test_groups_and_chunks_do_not_change_the_result(net, cfm_cfg):
    """Every RoI alone, at the one scale of its own, says the same."""
    image = np.random.default_rng(2).integers(0, 255, (120, 120, 3), dtype=np.uint8)
    proposals = some()
    cfm_cfg.TEST.SCALES = (360, 600, 900)
    cfm_cfg.TEST.MAX_SIZE = 1000
    together = detect(net, image, proposals, TestSettings.of(cfm_cfg))
    level = nearest_scale(proposals.boxes, np.array(cfm_cfg.TEST.SCALES) / 120)
    assert len(set(level)) > 1
    for n, scale in enumerate(np.array(cfm_cfg.TEST.SCALES)[level]):
        cfm_cfg.TEST.SCALES = (int(scale),)
        alone = detect(net, image, proposals.rows(np.array([n])), TestSettings.of(cfm_cfg))
        np.testing.assert_allclose(together.scores[n], alone.scores[0], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(together.masks[n], alone.masks[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(together.boxes, proposals.boxes)


def test_mirrored_and_no_proposals(net, cfm_cfg):
    image = np.random.default_rng(2).integers(0, 255, (100, 120, 3), dtype=np.uint8)
    once = detect(net, image, some(5), TestSettings.of(cfm_cfg))
    cfm_cfg.TEST.USE_FLIPPED = True
    both = detect(net, image, some(5), TestSettings.of(cfm_cfg))
    assert len(both.boxes) == 10
    np.testing.assert_allclose(both.boxes[5:], once.boxes, atol=1e-4)
    assert detect(net, image, some(0), TestSettings.of(cfm_cfg)).masks.shape == (0, 21, 21)


@pytest.fixture
def folder(tiny_scenes, tmp_path):
    data = get_dataset(f"sbd:{tiny_scenes}:val")
    for n, name in enumerate(data.names):
        found = some(9, seed=n)
        scipy.io.savemat(tmp_path / f"{name}.mat", {"boxes": found.boxes, "masks": found.masks})
    return data, tmp_path


def test_a_data_set(net, cfm_cfg, folder):
    data, path = folder
    found = run_test(net, data, cfm_cfg, "cfm", ProposalFolder(path, data))
    assert [len(per_image) for per_image in found] == [len(data)] * 6
    for boxes, masks in found[1]:
        assert 0 < len(boxes) <= 9 and masks.shape == (len(boxes), 21, 21)


def test_validation_finds_what_a_test_finds(net, cfm_cfg, folder, tmp_path):
    """In training, from the regions that it has there, on the weights that it has now."""
    data, path = folder
    (tmp_path / "data/MCG").mkdir(parents=True)
    for file in path.glob("*.mat"):
        file.rename(tmp_path / "data/MCG" / file.name)
    cfm_cfg.DATA_DIR = str(tmp_path / "data")
    validation = Validation(data, tmp_path / "cfm.prototxt", every=1)
    alone = SimpleNamespace(deal=range, gathered=lambda part: [part])
    found = validation.measure(net, lambda done, images: True, alone)
    assert set(found) == set(validation.figures) and "mAP^r@0.5" in found
    expected = run_test(net, data, cfm_cfg, "cfm", ProposalFolder(tmp_path / "data/MCG", data))
    for i, image in enumerate(validation._found):
        for label, (boxes, masks) in enumerate(image):
            np.testing.assert_allclose(boxes, expected[label][i][0], rtol=1e-5)
            np.testing.assert_allclose(masks, expected[label][i][1], rtol=1e-5)
    assert len(validation.pictures(tmp_path / "drawn")) == len(data)


def test_broken_proposals_cost_one_image(net, cfm_cfg, folder, caplog):
    data, path = folder
    (path / f"{data.names[1]}.mat").write_bytes(b"torn")
    found = run_test(net, data, cfm_cfg, "cfm", ProposalFolder(path, data))
    assert [len(boxes) > 0 for boxes, _ in found[1]] == [k != 1 for k in range(len(data))]
    assert f"{data.names[1]}.mat: not a readable MATLAB file" in caplog.text


def test_proposals_that_are_missing_or_broken(folder):
    data, path = folder
    first = path / f"{data.names[0]}.mat"
    scipy.io.savemat(first, {"boxes": np.zeros((2, 4))})
    with pytest.raises(DataError, match="lacks masks"):
        ProposalFolder(path, data)(0)
    first.unlink()
    with pytest.raises(DataError, match="no proposals of this image, nor of 0 others"):
        ProposalFolder(path, data)         # at once, not when the test comes to this image


def test_a_net_for_another_task(net, cfm_cfg, folder):
    with pytest.raises(InferenceError, match='no blob "im_info"'):
        run_test(net, folder[0], cfm_cfg, "seg")
