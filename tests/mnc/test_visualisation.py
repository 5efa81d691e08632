"""Painting as the public code does; pictures and the report."""

from __future__ import annotations

import re
import tracemalloc
from urllib.parse import unquote

import cv2
import numpy as np
import pytest

from golden_mnc import GOLDEN
from mnc.commands import demo_images
from mnc.drawing.instances import color_map, draw_instances, paint, write_image
from mnc.drawing.labels import draw_labels, font_of, text_color
from mnc.drawing.report import Page, write_report
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


@pytest.mark.parametrize("shape", [(64, 64), (480, 640), (3000, 4000)])
def test_lines_and_letters_grow_with_the_picture(shape):
    """The share of the picture that the label takes is much the same."""
    image = np.zeros((*shape, 3), np.uint8)
    box = np.array([0.1, 0.5, 0.9, 0.9]) * np.tile(shape[::-1], 2)
    found = Instances(np.array([[*box, 0.9]]), np.zeros((1, 21, 21), np.float32), np.array([1]))
    picture = draw_instances(image, found, ("background", "cat"))
    label = picture[:picture.shape[0] // 2 - 2].any(axis=2)
    rows = np.flatnonzero(label.any(axis=1))
    assert 0.02 < len(rows) / picture.shape[0] < 0.06


def test_labels_take_places_of_their_own_the_best_first():
    picture = np.zeros((200, 300, 3), np.uint8)
    boxes = np.tile([40.0, 80, 160, 150], (20, 1))
    draw_labels(picture, boxes, ["cat"] * 20, [[n + 1, 0, 255] for n in range(20)])
    drawn = {int(blue): np.argwhere((picture == [blue, 0, 255]).all(axis=2)) for blue in
             np.unique(picture[(picture[..., 2] == 255) & (picture[..., 1] == 0)][:, 0])}
    assert 1 in drawn and 2 in drawn and len(drawn) < 20            # the worst find no place
    assert max(drawn) == len(drawn)
    corners = [(*places.min(0), *places.max(0)) for places in drawn.values()]
    for n, one in enumerate(corners):
        for other in corners[:n]:
            assert one[0] > other[2] or other[0] > one[2] or one[1] > other[3] or other[1] > one[3]


def test_letters_are_black_or_white_by_what_is_under_them():
    assert text_color([255, 255, 0]) == (0, 0, 0) and text_color([200, 30, 30]) == (255,) * 3


def test_a_font_of_ones_own(monkeypatch, tmp_path):
    monkeypatch.setenv("MNC_FONT", str(tmp_path / "none.ttf"))
    with pytest.raises(OSError, match="none.ttf|cannot open"):
        font_of(77)


def test_drawing_a_mask_takes_the_memory_of_its_box_only():
    """200 instances of 12 megapixels each would take minutes and gigabytes."""
    image = np.zeros((3000, 4000, 3), np.uint8)
    boxes = np.array([[n * 15, n * 10, n * 15 + 9, n * 10 + 9, 0.9] for n in range(200)], float)
    found = Instances(boxes, np.ones((200, 21, 21), np.float32), np.ones(200, int))
    tracemalloc.start()
    draw_instances(image, found, ("background", "cat"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.5 * image.nbytes


def test_the_report_and_its_pictures(tmp_path):
    image = np.full((20, 30, 3), 200, np.uint8)
    path = tmp_path / "new" / "index.html"
    write_report(path, "A < B", [("one & two", image)], metrics={"mAP": 0.5, "AP": {"cat": 0.25}},
                 notes=["<note>"])
    text = path.read_text()
    assert "A &lt; B" in text and "one &amp; two" in text and "&lt;note&gt;" in text
    assert "<td>AP cat</td><td>0.250</td>" in text
    shown, = re.findall('src="([^"]+)"', text)
    assert cv2.imread(str(path.parent / unquote(shown))).shape == image.shape
    assert "http" not in text


def test_a_page_grows_and_shows_large_pictures_small(tmp_path):
    page = Page(tmp_path / "index.html", "Pictures")
    (tmp_path / "index.html").write_text("an earlier one")
    assert page.path.read_text() == "an earlier one"        # until there is something to show
    page.picture("a #1?", np.zeros((1000, 2000, 3), np.uint8), tmp_path / "sub" / "a #1?.jpg")
    text = page.path.read_text()
    page.note("more")
    assert page.path.read_text() == text + "<p>more</p>\n"
    large, = re.findall('href="([^"]+)"', text)
    small, = re.findall('src="([^"]+)"', text)
    assert cv2.imread(str(tmp_path / unquote(large))).shape == (1000, 2000, 3)
    assert cv2.imread(str(tmp_path / unquote(small))).shape == (320, 640, 3)


def test_many_pictures_take_no_more_memory_than_few(tmp_path):
    nothing = Instances(np.zeros((0, 5)), np.zeros((0, 21, 21), np.float32), np.zeros(0, int))
    finder = demo_images.Finder(lambda image, score: nothing, ("bg",), 0.4)
    cv2.imwrite(str(tmp_path / "a.jpg"), np.full((1200, 1600, 3), 90, np.uint8))
    peaks = []
    for number in (2, 8):
        tracemalloc.start()
        demo_images.draw_files(finder, [tmp_path / "a.jpg"] * number, tmp_path / f"{number}")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(list((tmp_path / f"{number}/thumbnails").iterdir())) == number
    assert peaks[0] > 1200 * 1600 * 3 and peaks[1] < 1.2 * peaks[0]


def test_a_picture_that_cannot_be_written(tmp_path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(OSError, match="a.png"):
        write_image(tmp_path / "a.png", np.zeros((2, 2, 3), np.uint8))
