"""Which files of a folder are images."""

from __future__ import annotations

import pytest

from mnc.data import DataError
from mnc.data.folders import image_files, images_in


def test_images_by_name(tmp_path):
    for name in ("b.JPG", "a.png", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()
    assert [path.name for path in images_in(tmp_path)] == ["a.png", "b.JPG"]
    named = tmp_path / "notes.txt"
    assert image_files([named, tmp_path]) == [named, *images_in(tmp_path)]


def test_a_folder_without_images(tmp_path):
    with pytest.raises(DataError, match="no image in"):
        image_files([str(tmp_path)])
