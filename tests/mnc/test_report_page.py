"""The page of --report, looked at in a browser where there is one."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest

from mnc import cli
from mnc.commands.report_page import image_f1, paired_colors, true_instances
from mnc.data import get_dataset
from mnc.data.dataset import Annotation
from mnc.evaluation.matching import match
from mnc.instances import Detections, Instances
from mnc.results.detections import save_detections


@pytest.fixture(scope="module")
def page(tiny_scenes, tmp_path_factory):
    """Results on three scenes: all that is there, nothing, and all with one more."""
    place = tmp_path_factory.mktemp("report")
    data = get_dataset(f"sbd:{tiny_scenes}:val")
    rows = []
    for c in range(len(data.classes)):
        rows.append([])
        for i in range(len(data)):
            own = data.annotation(i).rows(data.annotation(i).labels == c)
            boxes = np.hstack((own.boxes, np.full((len(own.labels), 1), 0.5 + i / 10)))
            masks = np.array([cv2.resize(mask.astype(np.float32), (21, 21)) for mask in own.masks]
                             ).reshape(-1, 21, 21).astype(np.float32)
            rows[-1].append(Detections(boxes[:0], masks[:0]) if i == 1 else Detections(boxes, masks))
    boxes, masks = rows[1][2]
    rows[1][2] = Detections(np.vstack((boxes, [[0, 0, 3, 3, 0.99]])),
                            np.concatenate((masks, np.ones((1, 21, 21), np.float32))))
    save_detections(place / "detections_seg.npz", data, rows)
    assert cli.main(["evaluate", str(place / "detections_seg.npz"), "--imdb", f"sbd:{tiny_scenes}:val",
                     "--out", str(place / "out"), "--report"]) == 0
    return place / "out/report/index.html"


def test_what_is_on_it(page, tiny_scenes):
    text = page.read_text()
    for said in ("AP^r@0.5", "What they mean", "detections_seg.npz", "<td>date</td>", "<td>command</td>",
                 "F1 1.00", "F1 0.00"):
        assert said in text, said
    data = get_dataset(f"sbd:{tiny_scenes}:val")
    assert all(f"<td>{name}</td>" in text for name in data.classes[1:])
    files = re.findall('href="([^"]+)"', text)
    assert len(files) == 3 and all((page.parent / file).exists() for file in files)
    assert re.findall('data-f1="([^"]+)"', text)[-1] == "0.0"


def test_pictures_and_tables_can_be_sorted_and_chosen(page, dom_of):
    scripted = page.with_name("scripted.html")
    scripted.write_text(page.read_text() + """<script>
      document.querySelector("button[data-by=f1]").click();
      const select = document.getElementById("shown");
      select.value = select.options[1].text; select.dispatchEvent(new Event("change"));
      const head = document.querySelector("table:nth-of-type(2) th"); head.click(); head.click();
      document.title = [...document.querySelectorAll("figure")].map(f => f.dataset.f1 + f.hidden).join(" ");
      </script>""")
    dom = dom_of(scripted)
    title = re.search("<title>([^<]*)</title>", dom)[1]
    values = [float(re.match("[0-9.]+", each)[0]) for each in title.split()]
    assert values == sorted(values) and len(values) == 3
    hidden = ["true" in each for each in title.split()]
    classes = re.findall('data-classes="([^"]*)"', dom)
    first = re.search("<option>([^<]+)", dom)[1]
    assert hidden == [first not in found.split("|") for found in classes]


def test_f1_of_images(tiny_scenes):
    data = get_dataset(f"sbd:{tiny_scenes}:val")
    nothing = [[Detections(np.zeros((0, 5)), np.zeros((0, 21, 21))) for _ in range(len(data))]
               for _ in data.classes]
    assert image_f1(match(data, nothing, 0.4), len(data)).tolist() == [0.0] * len(data)


def test_truth_is_drawn_without_a_score_and_without_a_mask_too():
    truth = true_instances(Annotation(np.array([[0, 0, 3, 3], [1, 1, 2, 2]], np.float32), np.array([1, 2]),
                                      [np.eye(4, dtype=bool), None]))
    assert np.isnan(truth.boxes[:, 4]).all() and truth.masks[1].shape == (2, 2) and truth.masks[1].all()


def test_a_result_has_the_colour_of_what_it_is_about():
    truth = Instances(np.array([[0, 0, 9, 9, np.nan], [20, 0, 29, 9, np.nan]]), np.ones((2, 3, 3)), np.array([1, 2]))
    found = Instances(np.array([[20, 1, 29, 9, 0.9], [20, 0, 29, 9, 0.8], [0, 0, 9, 8, 0.7], [50, 0, 59, 9, 0.6]]),
                      np.ones((4, 3, 3)), np.array([1, 2, 1, 1]))
    here, there = (each.tolist() for each in paired_colors(truth, found))
    assert there[0] == here[1] and there[2] == here[0] and here[0] != here[1]
    assert not any(color in here for color in (there[1], there[3])) and there[1] != there[3]
    nothing = truth.boxes[:0]
    none = Instances(nothing, np.ones((0, 3, 3)), np.zeros(0, int))
    assert [len(each) for each in paired_colors(none, found)] == [0, 4]
    assert [len(each) for each in paired_colors(truth, none)] == [2, 0]
