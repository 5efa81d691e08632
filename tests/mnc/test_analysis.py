"""What is wrong with results, what it costs, and the page that says so."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from mnc import cli
from mnc.data.dataset import Annotation
from mnc.evaluation import analysis
from mnc.evaluation.matching import Matched, judged, match
from mnc.instances import Detections
from mnc.masks.rendering import solid

CLASSES = ("__background__", "cat", "dog")


class Pictures:
    """A data set of boxes: [(label, box, difficult)] an image."""

    name, classes = "pictures", CLASSES

    def __init__(self, *images):
        self.images = images
        self.names = [f"{n}" for n in range(len(images))]

    def __len__(self):
        return len(self.images)

    def annotation(self, i):
        rows = self.images[i]
        boxes = np.array([row[1] for row in rows], np.float32).reshape(len(rows), 4)
        return Annotation(boxes, np.array([row[0] for row in rows], int), [solid(b) for b in boxes],
                          difficult=np.array([len(row) > 2 for row in rows], bool))


def found(dataset, *rows):
    """Detections of (image, label, box, score)."""
    def of(label, image):
        own = [[*box, score] for i, c, box, score in rows if (i, c) == (image, label)]
        return Detections(np.array(own, float).reshape(len(own), 5), np.ones((len(own), 21, 21), np.float32))

    return [[of(c, i) for i in range(len(dataset))] for c in range(len(CLASSES))]


A, B, FAR = (0, 0, 9, 9), (40, 40, 49, 49), (80, 80, 89, 89)
HALF = (0, 0, 9, 3)                     # 40 % of A
EACH_KIND = [("right", 1, A, 0.9), ("duplicate", 1, A, 0.8), ("localisation", 1, HALF, 0.7),
             ("class", 2, A, 0.6), ("both", 2, HALF, 0.5), ("background", 1, FAR, 0.4)]


@pytest.mark.parametrize("masks", [True, False])
def test_each_kind_of_error(masks):
    data = Pictures([(1, A), (2, B)])
    result = match(data, found(data, *[(0, c, box, score) for _, c, box, score in EACH_KIND]), 0.4, masks=masks)
    assert result.kind.tolist() == [kind for kind, *_ in EACH_KIND]
    assert result.truth.tolist() == [0, 0, 0, 0, -1, -1]
    assert result.missed.tolist() == [False, True]
    assert result.area[0] == 100 and result.truth_area.tolist() == [100, 100]


def test_difficult_instances_are_neither_missed_nor_wrong_to_find():
    data = Pictures([(1, A, "difficult"), (2, B)], [])
    result = match(data, found(data, (0, 1, A, 0.9), (1, 1, A, 0.3)), 0.4)
    assert result.kind.tolist() == ["ignored", "background"] and result.missed.tolist() == [False, True]
    assert analysis.confusion(result, 3, 0).tolist() == [[0, 1, 0], [0, 0, 0], [1, 0, 0]]


def test_the_better_score_chooses_and_the_other_takes_what_is_left():
    overlap = np.array([[0.6, 0.9], [0.8, 0.95]])
    kind, about = judged(overlap, np.ones(2, int), np.ones(2, int), np.zeros(2, bool))
    assert kind.tolist() == ["right", "right"] and about.tolist() == [1, 0]


def test_nothing_found_and_nothing_to_find():
    for data, rows in ((Pictures([(1, A)]), []), (Pictures([]), [(0, 1, A, 0.5)]), (Pictures([]), [])):
        result = match(data, found(data, *rows), 0.4)
        assert np.isnan(analysis.ap(result, 3)) or analysis.ap(result, 3) == 0
        assert len(analysis.errors(result, 3)) == 6 and analysis.best_threshold(analysis.thresholds(result))
        analysis.by_size(result, 3), analysis.by_number(result, 3)


def test_what_the_errors_cost():
    """One class: two cats. AP is 1/2 with one of them found first; what it is without an error."""
    data = Pictures([(1, A), (1, B)])

    def lost(*rows):
        result = match(data, found(data, *rows), 0.4)
        return analysis.ap(result, 3), {row["kind"]: round(row["AP lost"], 6)
                                        for row in analysis.errors(result, 3) if row["AP lost"] > 1e-9}

    near_b = (40, 40, 49, 43)
    assert lost((0, 1, A, 0.9)) == (0.5, {"missed": 0.5})
    assert lost((0, 1, A, 0.9), (0, 1, near_b, 0.8)) == (0.5, {"localisation": 0.5})
    assert lost((0, 1, FAR, 0.9), (0, 1, A, 0.8), (0, 1, B, 0.7)) == (pytest.approx(2 / 3), {
        "background": pytest.approx(1 / 3, abs=1e-6)})
    assert lost((0, 1, A, 0.9), (0, 1, A, 0.8), (0, 1, B, 0.7)) == (pytest.approx(5 / 6), {
        "duplicate": pytest.approx(1 / 6, abs=1e-6)})
    assert lost((0, 1, A, 0.9), (0, 2, B, 0.8)) == (0.5, {"class": 0.5})


def test_an_instance_that_two_errors_are_about_is_won_once():
    data = Pictures([(1, A), (1, B)])
    result = match(data, found(data, (0, 1, A, 0.9), (0, 2, B, 0.8), (0, 2, B, 0.7)), 0.4)
    class_error = analysis.errors(result, 3)[0]
    assert (class_error["kind"], class_error["number"], class_error["AP lost"]) == ("class", 2, 0.5)


def many() -> Matched:
    """Right and wrong cats of all scores; areas 10, 20, 30, 40 in four images."""
    data = Pictures(*[[(1, (0, 0, 9, k))] for k in range(4)])
    return match(data, found(data, *[(k, 1, (0, 0, 9, k), 0.95) for k in range(3)],
                             *[(k, 1, (50, 50, 59, 50 + k), 0.15) for k in range(4)]), 0.4)


def test_scores():
    rows = analysis.thresholds(many())
    at = {row["score"]: row for row in rows}
    assert at[0.1]["precision"] == pytest.approx(3 / 7) and at[0.1]["recall"] == 0.75
    assert at[0.2]["precision"] == 1 and at[0.2]["F1"] == pytest.approx(6 / 7)
    assert analysis.best_threshold(rows) == 0.2
    bins = analysis.calibration(many())
    assert (bins[9]["results"], bins[9]["right"], bins[1]["right"]) == (3, 1, 0)
    assert analysis.calibration_error(bins) == pytest.approx((3 * 0.05 + 4 * 0.15) / 7)


def test_sizes_and_numbers():
    sizes = analysis.by_size(many(), 3)
    assert [row["instances"] for row in sizes] == [1, 1, 1, 1]
    assert [row["AP"] for row in sizes] == [1, 1, 1, 0]
    assert analysis.by_number(many(), 3) == [{"instances": "1", "images": 4, "AP": 0.75}]


def test_the_page_and_the_tables(tiny_scenes, tmp_path, capsys):
    from mnc.data import get_dataset
    from mnc.results.detections import save_detections

    data = get_dataset(f"sbd:{tiny_scenes}:val")
    rows = []
    for c in range(len(data.classes)):
        rows.append([])
        for i in range(len(data)):
            own = data.annotation(i).rows(data.annotation(i).labels == c)
            boxes = np.hstack((own.boxes, np.full((len(own.labels), 1), 0.8)))
            rows[-1].append(Detections(boxes, np.ones((len(boxes), 21, 21), np.float32)))
    save_detections(tmp_path / "detections_seg.npz", data, rows)
    assert cli.main(["analyse", str(tmp_path / "detections_seg.npz"), "--imdb", f"sbd:{tiny_scenes}:val"]) == 0
    out = tmp_path / "detections_seg_analysis"
    assert "AP lost by" in capsys.readouterr().out
    known = json.loads((out / "analysis.json").read_text())
    assert known["results"] == known["instances"] and len(known["errors"]) == 6
    table = list(csv.reader((out / "confusion.csv").read_text().splitlines()))
    assert table[0] == ["is", "background", *data.classes[1:]] and len(table) == len(data.classes) + 1
    page = (out / "index.html").read_text()
    assert page.count("<svg") == 2 and "What the errors cost" in page and data.classes[1] in page
    assert cli.main(["analyse", str(tmp_path / "none.npz")]) == 1
    assert "no such results file" in capsys.readouterr().err
