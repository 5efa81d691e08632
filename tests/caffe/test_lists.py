"""Lists of files as other systems write them, for every layer and tool that reads one."""

from __future__ import annotations

import os

import cv2
import numpy as np
import pytest

import caffe
from caffe.commands.convert_imageset import main as convert_imageset
from caffe.data.databases import open_database
from caffe.data.images import parse_datum
from caffe.data.lists import FileList


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "img"
    root.mkdir()
    for name in ("a.png", "b c.png", "café.png"):
        cv2.imwrite(str(root / name), np.full((4, 5, 3), 7, np.uint8))
    with open(os.path.join(os.fsencode(root), b"l\xe9.png"), "wb") as file:
        file.write((root / "a.png").read_bytes())
    return root


GOOD = {
    "plain": (b"a.png 3\nb c.png 1\n", [3, 1]), "two blanks": (b"a.png  3\nb c.png  1\n", [3, 1]),
    "tab": (b"a.png\t3\nb c.png\t1\n", [3, 1]), "windows": (b"a.png 3\r\nb c.png 1\r\n", [3, 1]),
    "blank at the end": (b"a.png 3 \na.png 1 \n", [3, 1]),
    "mark": (b"\xef\xbb\xbfa.png 3\na.png 1\n", [3, 1]),
    "utf-16": ("a.png 3\ncafé.png 1\n".encode("utf-16"), [3, 1]),
    "latin-1, the name's bytes": (b"l\xe9.png 3\na.png 1\n", [3, 1]),
    "latin-1, the name's letters": (b"caf\xe9.png 3\na.png 1\n", [3, 1]),
    "old mac": (b"a.png 3\ra.png 1\r", [3, 1])}


def net(source, root):
    return (f'layer {{ name: "d" type: "ImageData" top: "x" top: "l" image_data_param {{ '
            f'source: "{source}" root_folder: "{root}/" batch_size: 2 }} }}')


@pytest.mark.parametrize("kind", GOOD)
def test_lists_of_images(folder, tmp_path, kind):
    content, labels = GOOD[kind]
    source = tmp_path / "list.txt"
    source.write_bytes(content)
    found = caffe.Net(net(source, folder), caffe.TEST)
    found.forward()
    assert found.blobs["l"].data.tolist() == labels
    pytest.importorskip("lmdb")
    assert convert_imageset([f"{folder}/", str(source), str(tmp_path / "db")]) == 0
    records = open_database(str(tmp_path / "db"), leveldb=False).values()
    assert [parse_datum(record, "").label for record in records] == labels


@pytest.mark.parametrize("content, said", [
    ("a.png 0.5", "label a whole number"), ("a.png 1_0", "label a whole number"),
    ("a.png", "label a whole number"), ("a.png " + "9" * 5000, "label a whole number"),
    ("a.png 1\na.png 2147483648", "line 2: label 2147483648 is beyond"), ("", "lists no images")])
def test_labels_are_whole_numbers_of_32_bits(folder, tmp_path, content, said):
    (tmp_path / "list.txt").write_text(content)
    with pytest.raises(caffe.CaffeError, match=said):
        caffe.Net(net(tmp_path / "list.txt", folder), caffe.TEST)
    (tmp_path / "list.txt").write_text("a.png -2147483648\na.png +2147483647")
    assert FileList(tmp_path / "list.txt").labelled() == [("a.png", -2**31), ("a.png", 2**31 - 1)]


@pytest.mark.parametrize("name", ["../secret.png", "x/../../secret.png"])
def test_names_stay_behind_the_root(folder, tmp_path, name):
    cv2.imwrite(str(tmp_path / "secret.png"), np.zeros((4, 5, 3), np.uint8))
    (tmp_path / "list.txt").write_text(f"{name} 0\n")
    with pytest.raises(caffe.LayerError, match="leaves the root folder"):
        caffe.Net(net(tmp_path / "list.txt", folder), caffe.TEST)


def test_a_list_that_is_none(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"\x89HDF\r\n\x1a\n\0\0\0\0")
    with pytest.raises(ValueError, match=r"list\.txt: a binary file, where a list of files"):
        FileList(tmp_path / "list.txt")


def test_windows_of_images_with_blanks_in_names(folder, tmp_path):
    lines = ["\ufeff# 0", "b c.png", "3", "4", "5", "2", "1 0.9 0 0 3 3", "0 0.1 1 1 3 3"]
    (tmp_path / "w.txt").write_bytes("\r\n".join(lines).encode("utf-8"))
    text = (f'layer {{ name: "d" type: "WindowData" top: "x" top: "l" window_data_param {{ source: '
            f'"{tmp_path / "w.txt"}" root_folder: "{folder}/" batch_size: 4 fg_threshold: 0.5 '
            'bg_threshold: 0.5 fg_fraction: 0.25 } transform_param { crop_size: 8 } }')
    found = caffe.Net(text, caffe.TRAIN)
    found.forward()
    assert found.blobs["l"].data.tolist() == [0, 0, 0, 1]
    assert (found.blobs["x"].data == 7).all()
    (tmp_path / "w.txt").write_text("\n".join(lines[1:]))
    with pytest.raises(caffe.LayerError, match="near line 1: expected"):
        caffe.Net(text, caffe.TRAIN)
