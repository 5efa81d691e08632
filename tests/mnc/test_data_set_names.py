"""Names of data sets: what is joined, and a '+' that is part of a path."""

from __future__ import annotations

import shutil

import pytest

from mnc.data import DataError, get_dataset
from mnc.data.imdb import DATASETS, parts_of
from mnc.set_names import NAMES


@pytest.mark.parametrize("name, parts", [
    ("voc_2007_trainval+voc_2012_trainval", ["voc_2007_trainval", "voc_2012_trainval"]),
    ("sbd:c++/mine:train", ["sbd:c++/mine:train"]),
    ("sbd:a+b:train+val", ["sbd:a+b:train+val"]),
    ("scenes_val+sbd:a+b:train+scenes_train", ["scenes_val", "sbd:a+b:train", "scenes_train"]),
    ("coco:x+y.json:z+coco:v.json:+w", ["coco:x+y.json:z", "coco:v.json:+w"]),
    ("scenes_val+scenes_tain", ["scenes_val", "scenes_tain"]),
])
def test_joined_names(name, parts):
    assert parts_of(name) == parts


def test_the_names_that_need_no_torch_are_those_of_the_data_sets():
    assert set(NAMES) == set(DATASETS)


def test_a_folder_with_a_plus(tiny_scenes, tmp_path):
    folder = tmp_path / "photos+masks"
    shutil.copytree(tiny_scenes, folder)
    dataset = get_dataset(f"sbd:{folder}:train+sbd:{folder}:val")
    assert len(dataset) == len(get_dataset(f"sbd:{folder}:train")) + len(
        get_dataset(f"sbd:{folder}:val"))
    assert len(get_dataset(dataset.name)) == len(dataset)       # the joined name leads back


def test_what_is_wrong_with_a_joined_name(tmp_path):
    with pytest.raises(DataError, match='unknown data set "scenes_tain"; did you mean'):
        get_dataset("scenes_val+scenes_tain", tmp_path)
