"""Files and figures of a test."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from mnc import results
from mnc.data import Annotation, DataError, get_dataset
from mnc.evaluation.average_precision import evaluate
from mnc.evaluation.figures import has_masks


@pytest.fixture
def data(tiny_scenes):
    return get_dataset(f"sbd:{tiny_scenes}:val")


def perfect(dataset):
    """The ground truth as detections; masks are solid."""
    return [[(np.hstack((a.boxes[a.labels == c], np.ones((np.sum(a.labels == c), 1)))),
              np.ones((np.sum(a.labels == c), 21, 21), np.float32))
             for a in map(dataset.annotation,
                          range(len(dataset)))] for c in range(len(dataset.classes))]


def test_detections_come_back(data, tmp_path):
    detections = perfect(data)
    results.save_detections(tmp_path / "d.npz", data, detections)
    loaded, names = results.load_detections(tmp_path / "d.npz")
    assert names == list(data.names)
    for one, other in zip(detections, loaded):
        for (boxes, masks), (boxes2, masks2) in zip(one, other):
            np.testing.assert_array_equal(boxes, boxes2)
            np.testing.assert_array_equal(masks, masks2)


def test_detections_need_no_pickle(data, tmp_path):
    results.save_detections(tmp_path / "d.npz", data, perfect(data))
    with np.load(tmp_path / "d.npz", allow_pickle=False) as file:
        assert file["boxes"].shape == (len(file["labels"]), 5)
        assert all(file[name].dtype != object for name in file)
    assert [path.name for path in tmp_path.iterdir()] == ["d.npz"]


def test_box_ap_of_the_truth_is_one(data):
    metrics = results.measure(data, perfect(data), "det", 0.4)
    present = {data.classes[c] for a in map(data.annotation, range(len(data))) for c in a.labels}
    assert metrics["mAP^b@0.5"] == pytest.approx(1)
    assert {name for name, ap in metrics["AP^b@0.5"].items() if not math.isnan(ap)} == present


class BoxesOnly:
    """The same data without masks."""

    def __init__(self, whole):
        self.whole, self.name = whole, whole.name
        self.names, self.classes = whole.names, whole.classes

    def __len__(self):
        return len(self.whole)

    def annotation(self, i):
        found = self.whole.annotation(i)
        return Annotation(found.boxes, found.labels, None, found.size)


def test_data_without_masks_is_measured_on_boxes(data):
    assert set(results.measure(BoxesOnly(data), perfect(data), "seg", 0.4)) == {"mAP^b@0.5",
                                                                                "AP^b@0.5"}
    assert not has_masks(BoxesOnly(data)) and has_masks(data)


def test_volume_is_the_mean_over_nine_thresholds(data):
    found = results.measure(data, perfect(data), "seg", 0.4)
    each = evaluate(data, perfect(data), [k / 10 for k in range(1, 10)])
    assert found["mAP^r_vol"] == pytest.approx(
        np.mean([each[f"mAP^r@{k / 10:g}"] for k in range(1, 10)]))
    assert found["mAP^r@0.7"] == each["mAP^r@0.7"]
    assert set(found) == {f"{m}AP^{kind}" for m in ("", "m")
                          for kind in ("r@0.5", "r@0.7", "r_vol", "b@0.5")}


def test_mask_ap_of_solid_boxes_is_not(data):
    metrics = results.measure(data, perfect(data), "seg", 0.4)
    assert metrics["mAP^r@0.7"] < 0.9


def test_metrics_file_has_null_for_what_is_not_known(tmp_path):
    results.save_metrics(tmp_path / "m.json", {"mAP": 0.5, "AP": {"cat": math.nan}}, weights="w.h5")
    assert json.loads((tmp_path / "m.json").read_text()) == {"weights": "w.h5", "mAP": 0.5,
                                                             "AP": {"cat": None}}


def test_table():
    metrics = {"mAP^r@0.5": 0.5, "AP^r@0.5": {"cat": 0.25, "heron": math.nan}, "mAP^r@0.7": 0.1,
               "AP^r@0.7": {"cat": 0.1, "heron": math.nan}}
    assert results.table(metrics).splitlines() == ["       AP^r@0.5  AP^r@0.7",
                                                   "cat        25.0      10.0",
                                                   "heron         -         -",
                                                   "mean       50.0      10.0"]


@pytest.mark.parametrize("content", [b"", b"PK\3\4 torn", None])
def test_a_torn_file_is_named(tmp_path, content):
    path = tmp_path / "d.npz"
    if content is None:
        np.savez(path, other=np.zeros(3))
    else:
        path.write_bytes(content)
    with pytest.raises(DataError, match="d.npz: not a results file of mnc test, or a torn one"):
        results.load_detections(path)
