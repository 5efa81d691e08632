"""Images with shapes, and data sets that users register."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mnc.data import DataError, LabelledImage, LabelledImages, Shape, get_dataset, imdb, register
from mnc.data.names import relative_files


@pytest.fixture
def image(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((20, 30, 3), 80, np.uint8))
    return tmp_path / "a.png"


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(imdb, "REGISTERED", {})


def test_a_registered_list(image, registered):
    mask = np.zeros((20, 30), bool)
    mask[3:6, 4:9] = True
    register("mine", lambda: [LabelledImage(image, [Shape("kite", mask),
                                                    Shape("boat", [[1, 1, 5, 1, 5, 5]], crowd=True)])])
    dataset = get_dataset("mine")
    assert (dataset.name, dataset.classes[1:]) == ("mine", ("boat", "kite"))
    assert dataset.annotation(0).boxes[0].tolist() == [4, 3, 8, 5]
    assert dataset.annotation(0).crowd.tolist() == [False, True]
    assert len(get_dataset("mine+mine")) == 2


def test_a_registered_data_set(image, registered):
    own = LabelledImages("other", [LabelledImage(image, [Shape("kite", [[1, 1, 5, 1, 5, 5]])])])
    register("mine", lambda: own)
    assert get_dataset("mine") is own
    with pytest.raises(DataError, match='unknown data set "mina"; did you mean "mine"'):
        get_dataset("mina")


@pytest.mark.parametrize("name", ["", "a:b", "a+b", "scenes_val"])
def test_names_that_cannot_be_registered(name, registered):
    with pytest.raises(ValueError, match="cannot name a data set"):
        register(name, list)


def test_a_mask_of_another_size_is_left_out(image, caplog):
    shapes = [Shape("kite", np.ones((5, 5), bool)), Shape("kite", [[1, 1, 5, 1, 5, 5]])]
    dataset = LabelledImages("x", [LabelledImage(image, shapes)])
    assert len(dataset.annotation(0).labels) == 1
    assert "1 with a mask of another size than the image (a.png: shape 1)" in caplog.text


def test_no_image_at_all(tmp_path):
    with pytest.raises(DataError, match="x: no image of it can be used\n.*nix.png: no such image file"):
        LabelledImages("x", [LabelledImage(tmp_path / "nix.png")])


def test_files_relative_to_what_holds_them_all():
    assert relative_files(["/d/a/1.png", "/d/b/1.png"]) == ["a/1.png", "b/1.png"]
    assert relative_files(["/d/a/1.png"]) == ["1.png"] and relative_files([]) == []


def test_paths_with_colons(image, tmp_path):
    folder = tmp_path / "a:b"
    folder.mkdir()
    image.rename(folder / "a.png")
    (folder / "via.json").write_text('{"a": {"filename": "a.png", "regions": [{"shape_attributes": '
                                     '{"name": "rect", "x": 1, "y": 1, "width": 5, "height": 5}}]}}')
    assert len(get_dataset(f"via:{folder}/via.json:{folder}")) == 1
    assert len(get_dataset(f"via:{folder}/via.json")) == 1
