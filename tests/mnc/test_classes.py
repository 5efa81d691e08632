"""Names of classes, by number and from files."""

from __future__ import annotations

import pytest

from mnc.data import DataError
from mnc.data.classes import VOC_CLASSES, class_names, own_classes


def test_a_number_of_classes_names_them():
    assert class_names(6)[1] == "agate" and class_names(21)[1] == "aeroplane"
    assert class_names(3) == ("__background__", "class 1", "class 2")


def test_names_from_a_file(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("\ufeffcat\n\nhot dog\n", encoding="utf-8")        # as editors on Windows write
    assert class_names(3, path) == ("__background__", "cat", "hot dog")
    with pytest.raises(DataError, match="2 names, the net has 3 classes"):
        class_names(4, path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="names.txt: a binary file"):
        class_names(3, path)


def test_a_folder_may_name_its_own(tmp_path):
    assert own_classes(tmp_path) == VOC_CLASSES
    (tmp_path / "classes.txt").write_text("kite\n")
    assert own_classes(tmp_path) == ("__background__", "kite")
