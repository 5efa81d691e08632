"""The data layer of convolutional feature masking."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from caffe.engine.blob import Blob
from caffe.engine.errors import LayerError
from caffe.proto import caffe_pb2
from mnc.boxes.regression import bbox_transform
from mnc.config import cfg
from mnc.data import DataError
from mnc.data.mcg import Settings, load_regions
from mnc.data.mcg import prepare as prepare_regions
from mnc.data.roidb import prepare
from mnc.data.sbd import SBD, write_sample
from mnc.instances import TrainingRegions
from mnc.masks.targets import MaskForm
from mnc.sampling.cfm_targets import (
    BoxStatistics,
    RegionSampling,
    box_statistics,
    region_targets,
)
from mnc.sampling.proposal_targets import OverlapBin
from pylayer.cfm_data_layer import TOPS, CFMDataLayer
from small_data import write_mcg

BINS = [OverlapBin(0.5, 0.5, 1), OverlapBin(0.25, 0.1, 0.5), OverlapBin(0.25, 0, 0.1)]
PLAIN = BoxStatistics(np.zeros((3, 4)), np.ones((3, 4)))

REGIONS = TrainingRegions(
    boxes=np.array([[0, 0, 9, 9], [1, 0, 10, 9], [5, 0, 14, 9], [50, 50, 59, 59.0]]),
    masks=np.array([np.ones((2, 2)), [[1, 0], [1, 0]], np.ones((2, 2)), np.ones((2, 2))], bool),
    mask_targets=np.ones((4, 2, 2), bool), det_overlap=np.array([1, 9 / 11, 1 / 3, 0]),
    seg_overlap=np.array([1, 0.4, 0.3, 0]), labels=np.array([2, 2, 2, 0]),
    assignment=np.array([0, 0, 0, -1]))


def test_by_hand():
    found = region_targets(REGIONS, 2.0, RegionSampling(8, BINS), PLAIN, (1, 1, 1, 1),
                           MaskForm(1, 0.4))
    assert found.rois.tolist() == [[0, 0, 0, 18, 18], [0, 2, 0, 20, 18], [0, 10, 0, 28, 18],
                                   [0, 100, 100, 118, 118]]
    assert found.box_labels.ravel().tolist() == [2, 2, 0, 0]
    assert found.mask_labels.ravel().tolist() == [2, 0, 0, 0]
    assert found.masks.ravel().tolist() == [1, 1, 1, 1]                # a half reaches 0.4
    assert found.mask_weight[:, 0, 0, 0].tolist() == [1, 1, 0, 0]
    assert np.allclose(found.bbox_targets[1, 8:], bbox_transform(
        np.array([[2, 0, 20, 18]]), np.array([[0, 0, 18, 18]])))
    assert found.bbox_inside_weights.sum(1).tolist() == [4, 4, 0, 0]
    assert (found.bbox_outside_weights == found.bbox_inside_weights).all()


def test_draws_go_bin_by_bin_and_foreground_comes_first():
    many = TrainingRegions(*(np.repeat(getattr(REGIONS, name), 10, axis=0) for name in (
        "boxes", "masks", "mask_targets", "det_overlap", "seg_overlap", "labels", "assignment")))
    np.random.seed(3)
    near = np.random.choice(np.arange(20), 4, replace=False)
    middle = np.random.choice(np.arange(20, 30), 2, replace=False)
    far = np.random.choice(np.arange(30, 40), 2, replace=False)
    rows = np.sort(np.concatenate((near, middle, far)))
    np.random.seed(3)
    found = region_targets(many, 1.0, RegionSampling(8, BINS), PLAIN, (1, 1, 1, 1), MaskForm(2))
    assert (found.rois[:, 1:] == many.boxes[rows]).all()


def test_statistics_by_class():
    deltas = np.array([[1, 0, 0, 0], [3, 0, 0, 0], [5, 5, 5, 5.0]])
    found = box_statistics(np.array([1, 1, 2]), deltas, 4)
    assert found.means[1].tolist() == [2, 0, 0, 0] and found.stds[1, 0] == 1
    assert found.stds[2].tolist() == [1] * 4                                # a single delta
    assert found.means[3].tolist() == [0] * 4 and found.stds[3].tolist() == [1] * 4
    both = box_statistics(np.array([1, 1, 2]), deltas, 4, mirrored=True)
    assert both.means[1].tolist() == [0, 0, 0, 0] and both.stds[1, 0] == np.sqrt(5)


# --- the layer -----------------------------------------------------------------------------------

@pytest.fixture
def data(tmp_path):
    """Three images of 40 x 24 pixels, their roidb and their regions."""
    rng = np.random.default_rng(0)
    cells = np.arange(1, 61).reshape(6, 10).repeat(4, 0).repeat(4, 1)            # 4 x 4 pixels
    for k in range(3):
        owner = np.zeros((24, 40), np.uint8)
        owner[4:16, 4 * k:4 * k + 12], owner[8:20, 24:36] = 1, 2
        image = rng.integers(0, 255, (24, 40, 3)).astype(np.uint8)
        write_sample(tmp_path, f"i{k}", image, owner, np.array([1, 2]), 3)
        lists = [list(rng.choice(60, 9, replace=False) + 1) for _ in range(30)]
        covers = [list(np.unique(cells[owner == n])) for n in (1, 2)]
        write_mcg(tmp_path / "raw" / f"i{k}.mat", cells, covers + lists)
    (tmp_path / "train.txt").write_text("i0\ni1\ni2\n")
    (tmp_path / "classes.txt").write_text("kite\nboat\n")
    dataset = SBD(tmp_path, "train")
    cfg.DATA_DIR = str(tmp_path)
    prepare_regions(dataset, tmp_path / "raw", tmp_path / "MCG", Settings(), train=True)
    return prepare(dataset, use_flipped=True)[0]


def layer_of(param_str="'num_classes': 3"):
    cfg.TRAIN.SCALES, cfg.TRAIN.MAX_SIZE = (48,), 100
    param = caffe_pb2.LayerParameter(name="input-data", type="Python")
    param.python_param.param_str = param_str
    layer, top = CFMDataLayer(param), [Blob() for _ in TOPS]
    layer.setup([], top)
    return layer, dict(zip(TOPS, top))


def test_blobs(data):
    layer, top = layer_of()
    layer.set_roidb(data)
    layer.set_maskdb([])
    for _ in range(8):
        layer.forward([], list(top.values()))
        count = top["rois"].shape[0]
        assert top["data"].shape == (1, 3, 48, 80)
        assert {name: blob.shape for name, blob in top.items() if name != "data"} == {
            "rois": (count, 5), "masks": (count, 1, 14, 14), "box_labels": (count, 1),
            "mask_labels": (count, 1), "bbox_targets": (count, 12),
            "mask_targets": (count, 1, 21, 21), "bbox_inside_weights": (count, 12),
            "bbox_outside_weights": (count, 12), "mask_weight": (count, 1, 21, 21)}
        labels = top["box_labels"].data[:, 0]
        fg = int((labels > 0).sum())
        assert 0 < fg < count <= 64 and (labels[:fg] > 0).all()
        assert set(top["mask_labels"].data[:, 0]) <= {0, 1, 2}
        assert (top["mask_weight"].data[:, 0, 0, 0] == (np.arange(count) < fg)).all()
        assert set(np.unique(top["masks"].data)) <= {0, 1}


def test_a_mirrored_image_has_mirrored_regions(data, tmp_path):
    regions, _ = load_regions(tmp_path / "MCG" / "i0.mat")
    cfg.TRAIN.BATCH_SIZE = 10000
    layer, top = layer_of()
    layer.set_roidb([data[0], data[3]])
    for index, wanted in ((0, regions), (1, regions.mirrored(40))):
        layer._perm, layer._cur = np.array([index] * 3), 0
        layer.forward([], list(top.values()))
        boxes = {tuple(row) for row in (top["rois"].data[:, 1:] / 2).tolist()}
        assert boxes == {tuple(row) for row in wanted.boxes.tolist()}


def test_the_order_of_the_public_code(data):
    layer, _ = layer_of()
    np.random.seed(5)
    layer.set_roidb(data)
    np.random.seed(5)
    inds = np.random.permutation(np.arange(3))
    pairs = np.hstack((inds, inds + 3)).reshape(-1, 2)
    assert layer._perm.tolist() == pairs[np.random.permutation(np.arange(3))].ravel().tolist()
    cfg.TRAIN.ASPECT_GROUPING = False
    other, _ = layer_of()
    other.set_roidb(data)
    assert sorted(other._perm) == list(range(6))
    other.restore_state(layer.snapshot_state())
    assert (other._perm == layer._perm).all()


def test_statistics_are_kept_and_made_again_for_other_files(data, tmp_path):
    layer, _ = layer_of()
    layer.set_roidb(data)
    found = layer.statistics
    assert found.means.shape == (3, 4) and np.allclose(found.means[1:, 0], 0, atol=1e-6)
    (kept,) = (tmp_path / "cache").iterdir()
    again, _ = layer_of()
    again.set_roidb(data)
    assert (again.statistics.means == found.means).all()
    os.utime(tmp_path / "MCG" / "i0.mat", (1, 1))
    again.set_roidb(data)
    assert len(list((tmp_path / "cache").iterdir())) == 2 and kept.exists()


def test_given_statistics(data):
    cfg.TRAIN.BBOX_NORMALIZE_TARGETS_PRECOMPUTED = True
    layer, _ = layer_of()
    layer.set_roidb(data)
    assert layer.statistics.stds.tolist() == [[0.1, 0.1, 0.2, 0.2]] * 3
    cfg.TRAIN.BBOX_NORMALIZE_TARGETS = False
    layer, _ = layer_of()
    layer.set_roidb(data)
    assert (layer.statistics.stds == 1).all() and not layer.statistics.means.any()


def test_errors(data, tmp_path):
    layer, top = layer_of()
    with pytest.raises(LayerError, match="CFMDataLayer has no data yet; call set_roidb"):
        layer.forward([], list(top.values()))
    with pytest.raises(LayerError, match="param_str must give num_classes"):
        layer_of("")
    with pytest.raises(LayerError, match="the data has class 2, but num_classes is 2"):
        layer_of("num_classes: 2")[0].set_roidb(data)
    cfg.MASK_SIZE = 7
    layer, top = layer_of()
    layer.set_roidb(data)
    with pytest.raises(DataError, match="masks have side 21, cfg.MASK_SIZE is 7"):
        layer.forward([], list(top.values()))
    with pytest.raises(DataError, match="6 of 6 images have no regions, .*i0.mat; tools/prepare"):
        layer_of(f"{{num_classes: 3, regions: {tmp_path / 'raw2'}}}")[0].set_roidb(data)


def test_regions_of_other_classes_are_named(data, tmp_path):
    """At once where statistics are measured, else when the image's turn comes."""
    path = tmp_path / "MCG" / "i0.mat"
    content = {key: value for key, value in loadmat(path).items() if key[0] != "_"}
    for label in (3, -1):
        content["output_label"][5] = label
        savemat(path, content)
        complaint = f"i0.mat: output_label holds {label}, but the net's classes are 0..2"
        cfg.TRAIN.BBOX_NORMALIZE_TARGETS_PRECOMPUTED = False
        with pytest.raises(DataError, match=complaint):
            layer_of()[0].set_roidb(data[:1])
        cfg.TRAIN.BBOX_NORMALIZE_TARGETS_PRECOMPUTED = True
        layer, top = layer_of()
        layer.set_roidb([data[0], data[0]])
        with pytest.raises(DataError, match=complaint):
            layer.forward([], list(top.values()))


def test_cfm_is_trained_and_tested(data, tmp_path, capsys, caplog):
    from mnc.cli import main

    root = Path(__file__).resolve().parents[2]
    name, out = f"sbd:{tmp_path}:train", tmp_path / "out"
    common = ["--cfg", str(root / "experiments/cfgs/Mini/cfm.yml"), "--cpu", "--imdb", name]
    small = ["--set", "DATA_DIR", str(tmp_path), "TRAIN.SCALES", "[48]", "TEST.SCALES", "[48]"]
    assert main(["train", "--net", "Mini", "--task", "cfm", "--iters", "3", "--out", str(out),
                 "--val", name, *common, *small]) == 0
    assert "unlike every anchor" not in caplog.text         # it has none
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    (measured,) = [row["validation"] for row in rows if row.get("iteration") == 3
                   and "validation" in row]
    assert main(["test", "--def", str(out / "net/test.prototxt"), "--net",
                 str(out / "mini_cfm_iter_3.caffemodel.h5"), "--task", "cfm", "--out",
                 str(out / "test"), *common, *small]) == 0
    assert "Results saved to" in capsys.readouterr().out
    tested = json.loads((out / "test" / "metrics_cfm.json").read_text())
    assert "mAP^r@0.5" in measured and tested
    assert len(list((out / "validation").glob("*.jpg"))) == 3
