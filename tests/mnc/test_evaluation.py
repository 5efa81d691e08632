"""Average precision, against the reference's numbers and by hand."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from mnc.data import Annotation
from mnc.evaluation.average_precision import (
    Truth,
    average_precision,
    box_curve,
    evaluate,
    mask_ap,
)
from mnc.masks.rendering import render, tight_boxes

GOLDEN = Path(__file__).parent.parent / "golden" / "mnc_data.npz"
NONE = (np.zeros((0, 5)), np.zeros((0, 1, 21, 21)))


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as archive:
        return {key: archive[key] for key in archive if key.startswith(("sds_ap/", "voc_"))}


def test_average_precision_of_the_reference(golden):
    recall, precision = golden["voc_ap/rec"], golden["voc_ap/prec"]
    for key, eleven in (("ap", False), ("ap07", True)):
        got = average_precision(recall, precision, eleven_point=eleven)
        assert got == pytest.approx(golden[f"voc_ap/{key}"], abs=1e-12)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_mask_ap_of_the_reference(golden, threshold):
    truths, detections, want = [], [], golden[f"sds_ap/ap_{threshold}"]
    for i in range(int(golden["sds_ap/num_images"])):
        keys = [key for key in golden if key.startswith(f"sds_ap/gt_box_{i}_")]
        truths.append(Truth(np.array([golden[key] for key in keys]).reshape(-1, 4),
                            [golden[key.replace("box", "mask")] for key in keys],
                            np.zeros(len(keys), bool)))
        detections.append((golden[f"sds_ap/det_box_{i}"], golden[f"sds_ap/det_mask_{i}"]))
    assert mask_ap(truths, detections, [threshold]) == pytest.approx([float(want)], abs=1e-12)


@pytest.mark.parametrize("threshold", [0.5, 0.7])
def test_box_ap_of_the_reference(golden, threshold):
    images = range(int(golden["voc_box_ap/num_images"]))
    truths = [(golden[f"voc_box_ap/gt_{i}"], golden[f"voc_box_ap/difficult_{i}"]) for i in images]
    detections = [golden[f"voc_box_ap/det_{i}"][:, [1, 2, 3, 4, 0]] for i in images]
    curve = box_curve(truths, detections, threshold)
    np.testing.assert_allclose(curve.recall, golden[f"voc_box_ap/rec_{threshold}"], atol=1e-12)
    np.testing.assert_allclose(curve.precision, golden[f"voc_box_ap/prec_{threshold}"], atol=1e-12)
    for kind, eleven in (("area", False), ("07", True)):
        ap = average_precision(curve.recall, curve.precision, eleven_point=eleven)
        assert ap == pytest.approx(golden[f"voc_box_ap/ap_{threshold}_{kind}"], abs=1e-12)


def test_average_precision_by_hand():
    # Two of four found; the second hit comes after one miss.
    recall, precision = np.array([0.25, 0.25, 0.5]), np.array([1, 1 / 2, 2 / 3])
    for eleven, want in ((True, (3 * 1 + 3 * 2 / 3) / 11), (False, 0.25 + 0.25 * 2 / 3)):
        assert average_precision(recall, precision, eleven_point=eleven) == pytest.approx(want)
        assert average_precision(np.zeros(0), np.zeros(0), eleven_point=eleven) == 0


def test_a_mask_fills_its_rounded_box():
    masks = np.zeros((1, 1, 4, 4))
    masks[0, 0, :, :2] = 0.4
    whole, (mask,) = render(np.array([[2.5, 1.4, 9.5, 4.6, 1.0]]), masks, 0.4)
    assert whole.tolist() == [[2, 1, 10, 5]]                  # half to even
    assert mask.shape == (5, 9) and mask[:, :4].all() and not mask[:, 6:].any()


def test_tight_boxes_by_hand():
    masks = np.zeros((2, 1, 4, 4))
    masks[0, 0, 1:3, 2] = 1                                # in a box of 4 x 4: one value a pixel
    boxes = np.array([[10, 20, 13, 23, 0.5], [1, 1, 4, 4, 0.2]])
    assert tight_boxes(boxes, masks, 0.4).tolist() == [[12, 21, 12, 22, 0.5], [1, 1, 4, 4, 0.2]]


class Table:
    """Two images of 20 x 20 pixels; image 0 has two kites, image 1 a boat; there is no mill."""

    name, names = "table", ["0", "1"]
    classes = ("__background__", "kite", "boat", "mill")
    square = np.ones((10, 10), bool)

    def __len__(self):
        return 2

    def annotation(self, i):
        boxes = [[(0, 0, 9, 9), (10, 10, 19, 19)], [(5, 5, 14, 14)]][i]
        labels = np.array([[1, 1], [2]][i])
        return Annotation(np.array(boxes, np.float32), labels, [self.square] * len(boxes))


def found(*rows):
    return np.array(rows, float), np.ones((len(rows), 21, 21))


def test_second_finds_and_misses_are_wrong():
    kites = [found((0, 0, 9, 9, 0.9), (0, 0, 9, 9, 0.8), (10, 10, 19, 19, 0.7)), NONE]
    boats, mills = [NONE, found((5, 5, 14, 11, 0.5))], [found((0, 0, 3, 3, 0.2)), NONE]
    result = evaluate(Table(), [[NONE] * 2, kites, boats, mills])
    kite = (6 * 1 + 5 * 2 / 3) / 11             # recall 1/2, 1/2, 1; precision 1, 1/2, 2/3
    want = {"kite": kite, "boat": 1, "mill": np.nan}
    assert result["AP^r@0.5"] == pytest.approx(want, nan_ok=True)
    assert result["mAP^r@0.5"] == pytest.approx((kite + 1) / 2)
    assert result["AP^r@0.7"]["boat"] == 1                     # overlap 0.7 exactly
    assert set(result) == {"mAP^r@0.5", "AP^r@0.5", "mAP^r@0.7", "AP^r@0.7"}


def test_an_ignored_instance_counts_neither_way():
    class Crowded(Table):
        def annotation(self, i):
            known = super().annotation(i)
            return Annotation(known.boxes, known.labels, known.masks,
                              crowd=np.array([True, False][:len(known.labels)]))

    kites = [found((0, 0, 9, 9, 0.9), (0, 0, 9, 9, 0.8), (10, 10, 19, 19, 0.7)), NONE]
    result = evaluate(Crowded(), [[NONE] * 2, kites, [NONE] * 2, [NONE] * 2])
    assert result["AP^r@0.5"] == pytest.approx({"kite": 1, "boat": np.nan, "mill": np.nan},
                                               nan_ok=True)


def test_masks_may_come_in_full_size():
    square = np.ones((10, 10), bool)
    kites = [(np.array([[0, 0, 9, 9, 0.9], [10, 10, 19, 19, 0.7]]), [square, square]), NONE]
    result = evaluate(Table(), [[NONE] * 2, kites, [NONE] * 2, [NONE] * 2])
    assert result["AP^r@0.7"]["kite"] == pytest.approx(1)


def test_area_under_the_curve_on_request():
    kites = [found((0, 0, 9, 9, 0.9), (0, 0, 9, 9, 0.8), (10, 10, 19, 19, 0.7)), NONE]
    result = evaluate(Table(), [[NONE] * 2, kites, [NONE] * 2, [NONE] * 2], eleven_point=False)
    assert result["AP^r@0.5"]["kite"] == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_nothing_found():
    result = evaluate(Table(), [[NONE] * 2] * 4, thresholds=(0.5,))
    assert result["mAP^r@0.5"] == 0 and set(result) == {"mAP^r@0.5", "AP^r@0.5"}


@pytest.mark.parametrize(("detections", "message"), [
    ([[NONE] * 2] * 3, "detections of 3 classes for 4 of table"),
    ([[NONE] * 2, [NONE], [NONE] * 2, [NONE] * 2], "of class kite: 1 images, table has 2"),
    ([[NONE] * 2, [(np.zeros((1, 4)), np.zeros((1, 21, 21))), NONE], [NONE] * 2, [NONE] * 2],
     r"class kite, image 0: boxes must be \(n, 5\) .* got \(1, 4\)"),
    ([[NONE] * 2] * 3 + [[NONE, (np.zeros((2, 5)), np.zeros((1, 21, 21)))]],
     r"class mill, image 1: masks must be \(2, S, S\) or \(2, 1, S, S\), got \(1, 21, 21\)"),
])
def test_wrong_shapes_are_named(detections, message):
    with pytest.raises(ValueError, match=message):
        evaluate(Table(), detections)


def test_a_hundred_detections_take_milliseconds():
    rng = np.random.default_rng(0)
    boxes = np.hstack((rng.uniform(0, 9, (100, 2)), rng.uniform(10, 19, (100, 3))))
    masks = rng.uniform(size=(100, 1, 21, 21))
    start = time.process_time()                     # of the processor: others may have it for long
    evaluate(Table(), [[(boxes, masks)] * 2] * 4)
    assert time.process_time() - start < 2          # 0.02 s on one core
