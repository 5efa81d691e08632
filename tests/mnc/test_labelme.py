"""Labelme's files, as versions 3 to 5 write them."""

from __future__ import annotations

import base64
import json
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest

from mnc.data import DataError, get_dataset
from small_data import turned


def shape(label, points, kind="polygon", group=None, **more):
    return {"label": label, "points": points, "group_id": group, "description": "",
            "shape_type": kind, "flags": {}, **more}


def write(folder: Path, name: str, shapes: list, *, size=(20, 30), path=None, **changes) -> Path:
    """An image (unless path is given) and its JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    if path is None:
        cv2.imwrite(str(folder / f"{name}.png"), np.full((*size, 3), 80, np.uint8))
    content = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": path or f"{name}.png",
               "imageData": None, "imageHeight": size[0], "imageWidth": size[1], **changes}
    (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def boxes(dataset, i=0):
    return dataset.annotation(i).boxes.astype(int).tolist()


def areas(dataset, i=0):
    return [int(mask.sum()) for mask in dataset.annotation(i).masks]


def png(mask):
    return base64.b64encode(cv2.imencode(".png", mask)[1].tobytes()).decode()


def test_every_kind_of_shape(tmp_path):
    part = np.array([[0, 1, 1], [1, 1, 0]], np.uint8) * 255
    write(tmp_path, "a", [
        shape("cat", [[2, 3], [8, 3], [8, 7], [2, 7]]),
        shape("cat", [[20, 9], [12, 5]], "rectangle"),              # corners in any order
        shape("dog", [[10, 14], [10, 18]], "circle"),
        shape("dog", [[25, 2], [27, 3]], "mask", mask=png(part))])
    dataset = get_dataset(f"labelme:{tmp_path}")
    assert dataset.classes == ("__background__", "cat", "dog")
    assert boxes(dataset) == [[2, 3, 7, 6], [12, 5, 19, 8], [6, 10, 13, 17], [25, 2, 27, 3]]
    assert dataset.annotation(0).labels.tolist() == [1, 1, 2, 2]
    found = areas(dataset)
    assert found[:2] == [24, 32] and abs(found[2] - np.pi * 16) < 4 and found[3] == 4
    assert dataset.annotation(0).masks[3].tolist() == (part > 0).tolist()


def test_parts_of_a_group_are_one_instance(tmp_path):
    square = [[2, 2], [5, 2], [5, 5], [2, 5]]
    other = [[10, 2], [14, 2], [14, 5], [10, 5]]
    write(tmp_path, "a", [shape("cat", square, group=3), shape("cat", other, group=3),
                          shape("dog", other, group=3), shape("cat", [[20, 10], [22, 12]],
                                                              "rectangle", group=0),
                          shape("cat", [[25, 10], [26, 10]], "mask", group=0,
                                mask=png(np.full((1, 2), 255, np.uint8)))])
    dataset = get_dataset(f"labelme:{tmp_path}")
    assert boxes(dataset) == [[2, 2, 13, 4], [10, 2, 13, 4], [20, 10, 26, 11]]
    assert areas(dataset) == [21, 12, 6]


def test_what_cannot_be_used_is_counted_in_one_warning(tmp_path, caplog):
    write(tmp_path, "a", [shape("cat", [[2, 2], [9, 2], [9, 9], [2, 9]]),
                          shape("cat", [[2, 2], [9, 9]], "line"), shape("cat", [[2, 2]], "point"),
                          shape("cat", [[2, 2], [9, 2]]),
                          shape("cat", [[100, 100], [120, 100], [120, 120]]),
                          shape("cat", [[20, 12], [45, 12], [45, 18], [20, 18]]),
                          shape("fox", [[2, 2], [9, 2], [9, 9]]), {"label": "cat"},
                          shape("__ignore__", [[2, 2], [9, 2], [9, 9]])])
    write(tmp_path, "gone", [], path="gone.png")
    (tmp_path / "cut.json").write_text('{"shapes": [')
    (tmp_path / "other.json").write_text('{"images": []}')
    write(tmp_path, "resized", [shape("cat", [[1, 1], [9, 1], [9, 9]])], imageHeight=200,
          imageWidth=300)
    (tmp_path / "labels.txt").write_text("__ignore__\n_background_\ncat\ndog\n")
    with caplog.at_level(logging.WARNING):
        dataset = get_dataset(f"labelme:{tmp_path}")
    assert dataset.classes[1:] == ("cat", "dog") and boxes(dataset) == [[2, 2, 8, 8], [20, 12, 29, 17]]
    assert len(caplog.records) == 1
    text = caplog.text
    for part in ("9 annotations", "2 lines and points", "a.json: shape 2", "1 with polygons of fewer",
                 "1 with a mask without a pixel", '1 of a class that is not one of cat, dog',
                 'a.png: shape 7 "fox"', "1 shapes that are damaged", "gone.json", "cut.json",
                 "30 x 20, annotated 300 x 200", "1 reach out of their image", "a.png: shape 6"):
        assert part in text, part


def test_old_files_windows_paths_and_images_elsewhere(tmp_path):
    square = [[2, 2], [9, 2], [9, 9], [2, 9]]
    write(tmp_path / "pictures", "a", [])
    (tmp_path / "pictures/a.json").unlink()
    old = {"label": "cat", "line_color": None, "fill_color": None, "points": square}
    write(tmp_path / "json", "a", [old], path="..\\pictures\\a.png", version="3.16.7",
          imageHeight=None, imageWidth=None)
    write(tmp_path / "json", "b", [], size=(8, 9), path="C:\\Users\\me\\b.jpg")
    cv2.imwrite(str(tmp_path / "pictures/B.JPG"), np.zeros((8, 9, 3), np.uint8))
    dataset = get_dataset(f"labelme:{tmp_path}")
    assert dataset.names == ["a", "B"] and boxes(dataset) == [[2, 2, 8, 8]]
    assert len(dataset.annotation(1).labels) == 0           # looked at, and empty
    assert dataset.image(1).shape == (8, 9, 3)


def test_names_stay_in_the_folder(tmp_path, caplog):
    secret = tmp_path / "secret"
    write(secret, "a", [])
    write(tmp_path / "data", "b", [shape("cat", [[2, 2], [9, 2], [9, 9]])], path="../secret/a.png")
    write(tmp_path / "data", "c", [shape("cat", [[2, 2], [9, 2], [9, 9]])])
    assert get_dataset(f"labelme:{tmp_path}/data").names == ["c"]
    assert "b.json: ../secret/a.png" in caplog.text


def test_an_image_that_is_in_the_json_alone(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3)).astype(np.uint8)
    write(tmp_path / "data", "a", [shape("cat", [[2, 2], [9, 2], [9, 9], [2, 9]])],
          path="C:\\mine\\a b.png", imageData=png(pixels))
    dataset = get_dataset(f"labelme:{tmp_path}/data", tmp_path)
    assert np.array_equal(dataset.image(0), pixels)
    assert Path(dataset.image_path(0)).is_relative_to(tmp_path / "cache")
    again = get_dataset(f"labelme:{tmp_path}/data", tmp_path)
    assert again.image_path(0) == dataset.image_path(0)


def test_photographs_taken_sideways(tmp_path):
    """Labelme shows them upright and writes the size so."""
    write(tmp_path, "a", [shape("cat", [[2, 22], [9, 22], [9, 28], [2, 28]])], size=(30, 20),
          path="a.jpg")
    jpeg = cv2.imencode(".jpg", np.zeros((20, 30, 3), np.uint8))[1].tobytes()
    (tmp_path / "a.jpg").write_bytes(turned(jpeg))
    dataset = get_dataset(f"labelme:{tmp_path}")
    assert dataset.image(0).shape == (30, 20, 3) and boxes(dataset) == [[2, 22, 8, 27]]


def test_images_without_a_json_are_left_out_and_said(tmp_path, caplog):
    write(tmp_path, "a", [shape("cat", [[2, 2], [9, 2], [9, 9]])])
    write(tmp_path, "b", [])
    (tmp_path / "b.json").unlink()
    with caplog.at_level(logging.INFO):
        assert get_dataset(f"labelme:{tmp_path}").names == ["a"]
    assert "1 images without a labelme .json" in caplog.text


def test_classes_that_are_given_are_those_of_the_data(tmp_path):
    write(tmp_path, "a", [shape("猫 / cat", [[2, 2], [9, 2], [9, 9]])])
    assert get_dataset(f"labelme:{tmp_path}").classes[1:] == ("猫 / cat",)
    given = get_dataset(f"labelme:{tmp_path}", classes=["dog", "猫 / cat"])
    assert given.classes[1:] == ("dog", "猫 / cat") and given.annotation(0).labels.tolist() == [2]


@pytest.mark.parametrize("content", [{"shapes": [], "imagePath": "a.png"}, {"x": 1}, [], None])
def test_nothing_to_learn_from(tmp_path, content):
    write(tmp_path, "a", [])
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="no labelme .json|none of its 1 images has a labelled"):
        get_dataset(f"labelme:{tmp_path}")


@pytest.mark.parametrize("broken", [
    {"points": [[1, float("nan")], [2, 2], [3, 9]]}, {"points": [[1], [2]]}, {"points": "abc"},
    {"shape_type": "mask", "mask": "no base64!"}, {"shape_type": "mask", "mask": None}, {"points": []},
    {"shape_type": "circle", "points": [[1, 1]]}, {"points": [[1e300, 1], [2, 2], [3, 9]]},
    {"shape_type": ["polygon"]}, {"group_id": {"a": 1}}])
def test_damaged_shapes_cost_only_themselves(tmp_path, broken):
    good = shape("cat", [[2, 2], [9, 2], [9, 9], [2, 9]])
    write(tmp_path, "a", [good, {**shape("dog", [[2, 2], [9, 2], [9, 9]]), **broken}])
    dataset = get_dataset(f"labelme:{tmp_path}")
    assert boxes(dataset)[0] == [2, 2, 8, 8]
