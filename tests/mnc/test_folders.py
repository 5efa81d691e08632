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


def test_patterns_depth_and_what_is_not_there(tmp_path):
    for name in ("a.jpg", "sub/b.jpg", "sub/deep/c.png", "sub/notes.txt", "x[1].jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    def names(*given, **how):
        return [path.name for path in image_files([tmp_path / each for each in given], **how)]

    assert names("sub/*") == ["b.jpg"] and names("**/*.png") == ["c.png"]
    assert names("sub", deep=True) == ["b.jpg", "c.png"]
    assert names("x[1].jpg") == ["x[1].jpg"]            # a file of that name goes before the pattern
    with pytest.raises(DataError, match=r"no such file: .*gone.jpg"):
        names("a.jpg", "gone.jpg")
    with pytest.raises(DataError, match="no image in"):
        names("*.bmp")
