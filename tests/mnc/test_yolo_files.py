"""YOLO's text files in the folders that tools make."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest

from mnc.data import DataError, get_dataset, problems
from small_data import turned

SQUARE = "0.1 0.25 0.4 0.25 0.4 0.5 0.1 0.5"            # of 40 x 20: x 4..16, y 5..10


def image(path: Path, size=(20, 40)):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((*size, 3), 80, np.uint8))


def text(path: Path, content: str):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


@pytest.fixture
def folder(tmp_path):
    for split, name in (("train", "a"), ("train", "b"), ("val", "c"), ("train", "d")):
        image(tmp_path / "images" / split / f"{name}.jpg")
    text(tmp_path / "labels/train/a.txt", f"1 {SQUARE}\n0 0.5 0.5 0.25 0.5\n\n1 {SQUARE}\n")
    text(tmp_path / "labels/train/b.txt", "")
    text(tmp_path / "labels/val/c.txt", f"0 {SQUARE}\r\n")
    text(tmp_path / "data.yaml", "path: ../datasets/elsewhere\ntrain: images/train\nval: images/val\n"
                                 "names:\n  0: kite\n  1: 'big: boat'\n")
    return tmp_path


def test_polygons_boxes_and_images_without_any(folder):
    dataset = get_dataset(f"yolo:{folder}")
    assert dataset.classes == ("__background__", "kite", "big: boat")
    assert [Path(name).name for name in dataset.names] == ["a", "b", "d", "c"]
    found = dataset.annotation(0)
    assert found.boxes.tolist() == [[4, 5, 15, 9], [15, 5, 24, 14], [4, 5, 15, 9]]
    assert found.has_mask.tolist() == [True, False, True] and found.labels.tolist() == [2, 1, 2]
    assert [len(dataset.annotation(i).labels) for i in (1, 2, 3)] == [0, 0, 1]   # empty, missing, one
    assert not problems(dataset)


@pytest.mark.parametrize("name, count", [
    ("yolo:{}:train", 3), ("yolo:{}:val", 1), ("yolo:{}/data.yaml", 4), ("yolo:{}/data.yaml:val", 1)])
def test_splits(folder, name, count):
    assert len(get_dataset(name.format(folder))) == count


def test_a_split_that_is_not_there(folder):
    with pytest.raises(DataError, match="no split 'test': data.yaml does not name it"):
        get_dataset(f"yolo:{folder}:test")


def test_roboflow(tmp_path):
    """../train/images means ./train/images; names are a list."""
    image(tmp_path / "train/images/a_jpg.rf.0f.jpg")
    text(tmp_path / "train/labels/a_jpg.rf.0f.txt", f"0 {SQUARE}\n")
    text(tmp_path / "data.yaml", "train: ../train/images\nval: ../valid/images\nnc: 1\nnames: ['kite']\n")
    (tmp_path / "valid/images").mkdir(parents=True)
    dataset = get_dataset(f"yolo:{tmp_path}")
    assert dataset.classes[1:] == ("kite",) and dataset.annotation(0).labels.tolist() == [1]


def test_darknet(tmp_path):
    """Images and texts side by side, names in obj.names, lists in train.txt."""
    image(tmp_path / "obj_train_data/a.png")
    image(tmp_path / "obj_train_data/b.png")
    text(tmp_path / "obj_train_data/a.txt", f"0 {SQUARE}\n")
    text(tmp_path / "obj.names", "kite\nboat\n")
    dataset = get_dataset(f"yolo:{tmp_path}")
    assert len(dataset) == 2 and dataset.classes[1:] == ("kite", "boat")


def test_a_list_of_images(folder):
    text(folder / "few.txt", "images/train/a.jpg\n./images/val/c.jpg\n")
    text(folder / "data.yaml", "train: few.txt\nnames: [kite, boat]\n")
    assert len(get_dataset(f"yolo:{folder}")) == 2


def test_without_names_classes_are_numbers(folder, caplog):
    (folder / "data.yaml").unlink()
    assert get_dataset(f"yolo:{folder}").classes[1:] == ("0", "1")
    assert "no names of the classes" in caplog.text
    text(folder / "classes.txt", "kite\nboat\n")
    assert get_dataset(f"yolo:{folder}").classes[1:] == ("kite", "boat")
    (folder / "classes.txt").unlink()
    assert get_dataset(f"yolo:{folder}", classes=["x", "y"]).classes[1:] == ("x", "y")


def test_what_cannot_be_used_is_counted(folder, caplog):
    text(folder / "labels/train/b.txt", f"5 {SQUARE}\n0 0.5 0.5 0.1\n0 0.5 0.5 0.1 0.2 0.9\nx y\n"
         f"0 100 120 300 120 300 400\n0 nan 0.5 0.2 0.2\n1e999 0.5 0.5 0.2 0.2\n0 0.5 0.5 0.001 0.001\n0 {SQUARE}\n")
    with caplog.at_level(logging.WARNING):
        dataset = get_dataset(f"yolo:{folder}")
    assert len(dataset.annotation(1).labels) == 1 and len(caplog.records) == 1
    for part in ("8 annotations", "1 lines of a class beyond the 2 named (line 1 of b.txt)",
                 "2 lines that are neither a box (4 numbers) nor a polygon", "3 lines that are not numbers",
                 "1 lines in pixels", "1 with a box smaller than a pixel"):
        assert part in caplog.text, part


def test_photographs_taken_sideways(folder):
    """The tools that train on such files see them upright."""
    jpeg = cv2.imencode(".jpg", np.zeros((40, 20, 3), np.uint8))[1].tobytes()
    (folder / "images/train/a.jpg").write_bytes(turned(jpeg))
    dataset = get_dataset(f"yolo:{folder}")
    assert dataset.image(0).shape == (20, 40, 3)
    assert dataset.annotation(0).boxes[0].tolist() == [4, 5, 15, 9]


@pytest.mark.parametrize("yaml, message", [
    ("names: {1: a}", "must be 0 to 0"), ("names: {a: b, 1: c}", "must be 0 to 1"), ("train: nowhere", "names nowhere, which is not there"),
    ("a: [", "not valid YAML"), ("- a", "expected lines such as")])
def test_a_data_yaml_that_is_wrong(folder, yaml, message):
    text(folder / "data.yaml", yaml)
    with pytest.raises(DataError, match=message):
        get_dataset(f"yolo:{folder}")


def test_no_labels_at_all(tmp_path):
    image(tmp_path / "a.jpg")
    with pytest.raises(DataError, match="none of its 1 images has a .txt"):
        get_dataset(f"yolo:{tmp_path}")
