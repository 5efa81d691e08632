"""Painting as the public code does; pictures and the report."""

from __future__ import annotations

import base64
import re

import cv2
import numpy as np
import pytest

from golden_mnc import GOLDEN
from mnc.drawing.instances import color_map, draw_instances, paint, write_image
from mnc.drawing.report import write_report
from mnc.instances import Instances


def instances(*boxes, side=21):
    count = len(boxes)
    return Instances(np.array(boxes, float).reshape(count, 5),
                     np.ones((count, side, side), np.float32),
                     np.arange(1, count + 1))


def test_painting_equals_the_public_code():
    golden = np.load(GOLDEN / "vis_image.npz")
    found = paint(golden["boxes"], golden["masks"], golden["classes"],
                  (int(golden["img_height"]), int(golden["img_width"])))
    np.testing.assert_array_equal(found[0], golden["inst_img"])
    np.testing.assert_array_equal(found[1], golden["cls_img"])
    np.testing.assert_array_equal(color_map(), golden["color_map"])


def test_later_instances_lie_on_top():
    boxes = np.array([[1, 1, 3, 2], [2, 2, 4, 3]])
    found, _ = paint(boxes, np.ones((2, 21, 21)), [3, 5], (5, 6))
    np.testing.assert_array_equal(found, [[0, 0, 0, 0, 0, 0],
                                          [0, 1, 1, 1, 0, 0],
                                          [0, 1, 2, 2, 2, 0],
                                          [0, 0, 2, 2, 2, 0],
                                          [0, 0, 0, 0, 0, 0]])


def test_a_box_that_leaves_the_image_is_cut():
    found, _ = paint(np.array([[-5, -5, 100, 100]]), np.ones((1, 21, 21)), [1], (3, 4))
    assert found.shape == (3, 4) and (found == 1).all()


def test_small_images_are_enlarged_and_only_the_instance_is_tinted():
    image = np.full((100, 120, 3), 50, np.uint8)
    picture = draw_instances(image, instances([10, 40, 49, 79, 0.9]), ("background", "cat"),
                             short_side=300)
    assert picture.shape == (300, 360, 3)
    assert (image == 50).all()
    assert (picture[290, 350] == 50).all() and not (picture[180, 90] == 50).all()


@pytest.mark.parametrize("shape, zoom", [((1, 9), 133), ((3, 700), 1), ((500, 2), 2)])
def test_long_strips_stay_of_a_size_to_look_at(shape, zoom):
    image = np.zeros((*shape, 3), np.uint8)
    picture = draw_instances(image, instances([0, 0, 0, 0, 1]), ("background", "cat"),
                             short_side=300)
    assert picture.shape == (shape[0] * zoom, shape[1] * zoom, 3)


def test_large_images_keep_their_size():
    image = np.zeros((70, 90, 3), np.uint8)
    picture = draw_instances(image, instances([0, 0, 89, 69, 1]), ("background", "cat"),
                             short_side=50)
    assert picture.shape == image.shape


def test_nothing_found_changes_nothing():
    image = np.random.randint(0, 255, (50, 60, 3), np.uint8)
    np.testing.assert_array_equal(draw_instances(image, instances(), ("background",),
                                                 short_side=50), image)


def test_the_report_is_one_file(tmp_path):
    image = np.full((20, 30, 3), 200, np.uint8)
    path = tmp_path / "new" / "index.html"
    write_report(path, "A < B", [("one & two", image)], metrics={"mAP": 0.5, "AP": {"cat": 0.25}},
                 notes=["<note>"])
    text = path.read_text()
    assert "A &lt; B" in text and "one &amp; two" in text and "&lt;note&gt;" in text
    assert "<td>AP cat</td><td>0.250</td>" in text
    picture = base64.b64decode(re.search(r"base64,([^\"]+)", text)[1])
    assert cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR).shape == image.shape
    assert "src=\"data:" in text and "http" not in text


def test_a_picture_that_cannot_be_written(tmp_path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(OSError, match="a.png"):
        write_image(tmp_path / "a.png", np.zeros((2, 2, 3), np.uint8))
