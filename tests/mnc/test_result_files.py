"""Files in VOC's formats, and pictures of curves."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mnc.data import DataError
from mnc.drawing.curves import Line, draw_curves
from mnc.results.voc import read_voc_det, write_instance_pictures, write_voc_det


class Pair:
    name, names = "pair_val", ["a", "b"]
    classes = ("__background__", "kite", "boat")

    def __len__(self):
        return 2

    def image_path(self, i):
        return f"images/{self.names[i]}.jpg"

    def image(self, i):
        return np.zeros((12, 16, 3), np.uint8)

    def annotation(self, i):
        from mnc.data import Annotation

        return Annotation(np.zeros((0, 4), np.float32), np.zeros(0, int), [])


NONE = np.zeros((0, 5)), np.zeros((0, 4, 4))
SOLID = np.ones((1, 4, 4))
FOUND = [[NONE, NONE],
         [(np.array([[1, 2, 8, 9, 0.75]]), SOLID), NONE],
         [(np.array([[5, 5, 12, 11, 0.9]]), SOLID), (np.array([[0, 0, 3, 3, 0.25]]), SOLID)]]


def pixels(path):
    with Image.open(path) as picture:
        return np.array(picture)


def test_voc_det_counts_pixels_from_one(tmp_path):
    paths = write_voc_det(tmp_path, Pair(), FOUND)
    assert [path.name for path in paths] == ["comp4_det_val_kite.txt", "comp4_det_val_boat.txt"]
    assert paths[0].read_text() == "a 0.750000 2.0 3.0 9.0 10.0\n"
    assert paths[1].read_text().splitlines()[1] == "b 0.250000 1.0 1.0 4.0 4.0"


def test_voc_det_files_come_back(tmp_path):
    write_voc_det(tmp_path, Pair(), FOUND)
    for row, read in zip(FOUND, read_voc_det(tmp_path, Pair())):
        for (boxes, _), (boxes2, masks) in zip(row, read):
            np.testing.assert_allclose(boxes, boxes2)
            assert masks.shape == (len(boxes), 0, 0)
    (tmp_path / "comp4_det_val_boat.txt").write_text("c 0.5 1 2 3 4\n")
    with pytest.raises(DataError, match="boat.txt:1: not NAME SCORE .* of an image of pair_val"):
        read_voc_det(tmp_path, Pair())
    (tmp_path / "comp4_det_val_boat.txt").unlink()
    with pytest.raises(DataError, match=r"0 files \*_boat.txt"):
        read_voc_det(tmp_path, Pair())


class Awkward(Pair):
    """Names that other programs allow."""

    name = "coco:mine/val.json:mine/wild images"
    names = ["street north 7", "b/c 0.5 1 2"]
    classes = ("__background__", "cat", "wild_cat", "car/truck", "Cat")


def test_voc_det_files_with_awkward_names_come_back(tmp_path):
    """A data set with slashes, images with blanks, a class that ends as another, one with /."""
    rng = np.random.default_rng(0)
    found = [[NONE, NONE]] + [[(rng.integers(0, 9, (n, 5)) / 8, np.zeros((n, 0, 0))) for n in (1, c)]
                              for c in range(4)]
    paths = write_voc_det(tmp_path, Awkward(), found)
    assert all(path.parent == tmp_path for path in paths)
    assert [path.name.removeprefix("comp4_det_mine_wild images_") for path in paths] == [
        "cat.txt", "wild_cat.txt", "car_truck.txt", "Cat_2.txt"]
    for row, read in zip(found, read_voc_det(tmp_path, Awkward())):
        for (boxes, _), (boxes2, _) in zip(row, read):
            np.testing.assert_allclose(boxes, boxes2, atol=0.06)


def test_voc_det_files_of_two_results_in_a_folder_are_told(tmp_path):
    write_voc_det(tmp_path, Pair(), FOUND)
    write_voc_det(tmp_path, Pair(), FOUND, prefix="comp3_det")
    with pytest.raises(DataError, match="files of 2 results lie here"):
        read_voc_det(tmp_path, Pair())


def test_voc_det_files_of_other_systems_may_begin_otherwise(tmp_path):
    for name in ("theirs_kite.txt", "others_boat.txt"):
        (tmp_path / name).write_text("b   0.5\t1 2 3 4\n\n")
    found = read_voc_det(tmp_path, Pair())
    assert [[len(boxes) for boxes, _ in row] for row in found] == [[0, 0], [0, 1], [0, 1]]
    assert found[1][1].boxes.tolist() == [[0, 1, 2, 3, 0.5]]


def test_instance_pictures(tmp_path):
    write_instance_pictures(tmp_path, Pair(), FOUND, 0.4)
    with Image.open(tmp_path / "inst/a.png") as picture:
        assert picture.mode == "P" and picture.getpalette()[:6] == [0, 0, 0, 128, 0, 0]
    inst, cls = pixels(tmp_path / "inst/a.png"), pixels(tmp_path / "cls/a.png")
    assert inst.shape == (12, 16) and inst[6, 6] == 1 and inst[3, 3] == 2 and inst[0, 0] == 0
    assert cls[6, 6] == 2 and cls[3, 3] == 1                        # the better one lies on top
    assert (tmp_path / "a.txt").read_text().splitlines() == ["boat 0.900000 5.0 5.0 12.0 11.0",
                                                             "kite 0.750000 1.0 2.0 8.0 9.0"]
    assert not pixels(tmp_path / "inst/b.png").any()                # its score is below 0.5
    assert (tmp_path / "b.txt").read_text() == ""


def test_instance_pictures_of_images_in_folders(tmp_path):
    class Nested(Pair):
        names = ["a", "street/north/b"]

    write_instance_pictures(tmp_path, Nested(), FOUND, 0.4)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")} == {
        "inst/a.png", "cls/a.png", "a.txt", "inst/street/north/b.png", "cls/street/north/b.png",
        "street/north/b.txt"}


@pytest.mark.parametrize("classes", [0, 1, 5])
def test_curves_are_drawn(tmp_path, classes):
    line = Line(np.array([0.5, 1.0]), np.array([1.0, 0.5]), "0.7: 40.0")
    names = ["class 0", "$x_1^$", "猫", "_a", "b\\n"]
    panels = {name: [line, line] for name in names[:classes]} | {"absent": []}
    path = draw_curves(tmp_path / "c.png", panels)
    with Image.open(path) as picture:
        assert picture.size[0] > 400
