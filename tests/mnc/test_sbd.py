"""Reading folders in the SBD layout, and data sets by name."""

from __future__ import annotations

import logging

import cv2
import numpy as np
import pytest
import scipy.io

from mnc.data import Annotation, DataError, get_dataset, problems
from mnc.data.classes import VOC_CLASSES
from mnc.data.dataset import check_annotation
from mnc.data.sbd import SBD, read_instances, write_sample
from small_data import turned

OWNER = np.zeros((7, 11), np.uint8)
OWNER[1:4, 2:7] = 1
OWNER[3:6, 5:10] = 2          # covers a corner of the first


@pytest.fixture
def folder(tmp_path):
    """Two images of 11 x 7 pixels with two instances each."""
    for name in ("a", "b"):
        write_sample(tmp_path, name, np.full((7, 11, 3), 90, np.uint8), OWNER, np.array([3, 1]), 4)
    (tmp_path / "train.txt").write_text("a\n\nb\n")
    (tmp_path / "classes.txt").write_text("kite\nboat\nmill\n")
    return tmp_path


def rewrite(folder, name, **fields):
    scipy.io.savemat(folder / "inst" / f"{name}.mat", {"GTinst": fields})


def test_masks_and_tight_boxes(folder):
    dataset = SBD(folder, "train")
    assert dataset.names == ["a", "b"]
    assert dataset.classes == ("__background__", "kite", "boat", "mill")
    found = dataset.annotation(1)
    assert found.boxes.tolist() == [[2, 1, 6, 3], [5, 3, 9, 5]] and found.boxes.dtype == np.float32
    assert found.labels.tolist() == [3, 1] and found.size == (7, 11)
    assert found.masks[0].tolist() == [[True] * 5, [True] * 5, [True] * 3 + [False] * 2]
    assert found.masks[1].all() and found.masks[1].dtype == bool
    assert dataset.image(0).shape == (7, 11, 3)


def test_a_photograph_is_turned_as_it_was_annotated(folder):
    path = folder / "img" / "a.jpg"
    path.write_bytes(turned(path.read_bytes()))
    assert SBD(folder, "train").image(0).shape == (7, 11, 3)


def test_an_instance_without_a_pixel_is_left_out(folder):
    rewrite(folder, "a", Segmentation=OWNER, Categories=np.array([[3], [1], [2]]))
    assert SBD(folder, "train").annotation(0).labels.tolist() == [3, 1]


@pytest.mark.parametrize(("fields", "message"), [
    ({"Categories": np.array([[3], [1]])}, "GTinst lacks the key Segmentation; it has Categories"),
    ({"Segmentation": OWNER}, "GTinst lacks the key Categories"),
    ({"Segmentation": OWNER, "Categories": np.array([[3]])}, "counts to 2, but Categories has 1"),
    ({"Segmentation": OWNER, "Categories": np.array([[3], [4]])}, "label 4, but .* are 1..3"),
    ({"Segmentation": OWNER, "Categories": np.array([[0], [1]])}, "label 0, but .* are 1..3"),
    ({"Segmentation": np.zeros((2, 2, 2)), "Categories": np.array([[3]])}, "must be a map"),
    ({"Segmentation": OWNER, "Categories": "kite"}, "Categories must be whole numbers"),
])
def test_a_bad_annotation_names_file_and_key(folder, fields, message):
    rewrite(folder, "b", **fields)
    with pytest.raises(DataError, match=message) as caught:
        SBD(folder, "train").annotation(1)
    assert str(folder / "inst" / "b.mat") in str(caught.value)


def test_a_file_that_is_no_annotation(folder):
    path = folder / "inst" / "a.mat"
    scipy.io.savemat(path, {"GTcls": {"Segmentation": OWNER}})
    with pytest.raises(DataError, match="lacks the variable GTinst"):
        read_instances(path)
    scipy.io.savemat(path, {"GTinst": OWNER})
    with pytest.raises(DataError, match="lacks the key Segmentation; it has none"):
        read_instances(path)
    path.write_bytes(b"MATLAB 5.0 MAT-file" + bytes(300))
    with pytest.raises(DataError, match="a.mat: "):
        read_instances(path)
    path.unlink()
    with pytest.raises(DataError, match="no such annotation file"):
        read_instances(path)


def test_bad_images_are_named_and_dropped_on_request(folder, caplog):
    rewrite(folder, "c", Segmentation=OWNER, Categories=np.array([[3], [1]]))
    cv2.imwrite(str(folder / "img" / "c.jpg"), np.zeros((9, 11, 3), np.uint8))
    (folder / "img" / "b.jpg").write_text("not a picture")
    (folder / "train.txt").write_text("a\nb\nc\nd\n")
    name = f"sbd:{folder}:train"
    with pytest.raises(DataError, match="b.jpg: not a decodable image"):
        get_dataset(name).image(1)
    with caplog.at_level(logging.WARNING, "mnc"):
        kept = get_dataset(name, skip_bad=True)
    assert kept.names == ["a"] and kept.annotation(0).labels.tolist() == [3, 1]
    assert kept.image(0).shape == (7, 11, 3)
    (record,) = caplog.records
    summary = record.getMessage()
    assert "dropped 3 of 4 images" in summary
    assert "b.jpg: not a decodable" in summary and "d.jpg: no such image file" in summary
    assert "masks are for 11 x 7 pixels, the image has 11 x 9" in summary
    (folder / "train.txt").write_text("b\n")
    with pytest.raises(DataError, match="none of the 1 images can be used"):
        get_dataset(name, skip_bad=True)


@pytest.mark.parametrize(("box", "label", "message"), [
    ((2, 1, 11, 3), 1, r"box \(2, 1, 11, 3\) of instance 1 is not inside the image of 11 x 7"),
    ((-1, 1, 3, 3), 1, "is not inside the image"),
    ((4, 1, 3, 3), 1, "is not inside the image"),
    ((2, 1, 6, 3), 4, "label 4 of instance 1 is not in 1..3"),
    ((2, 1, 6, 4), 1, r"has shape \(3, 5\), its box asks for \(4, 5\)"),
])
def test_every_annotation_is_checked(box, label, message):
    found = Annotation(np.array([box], np.float32), np.array([label]), [np.ones((3, 5), bool)])
    with pytest.raises(DataError, match="somewhere: .*" + message):
        check_annotation("somewhere", found, 4, (7, 11))


def test_lists_that_are_missing_or_empty(folder):
    with pytest.raises(DataError, match="val.txt: no such list; .* has classes.txt, train.txt"):
        SBD(folder, "val")
    with pytest.raises(DataError, match="no such folder"):
        SBD(folder / "nowhere", "val")
    (folder / "val.txt").write_text("\n")
    with pytest.raises(DataError, match="the list is empty"):
        get_dataset(f"sbd:{folder}:val")
    assert len(get_dataset(f"sbd:{folder}:val+sbd:{folder}:train")) == 2


def test_names(folder, tmp_path):
    with pytest.raises(DataError, match='data set "scene_train"; did you mean "scenes_train"'):
        get_dataset("scene_train")
    with pytest.raises(DataError, match="known: .*scenes_train, scenes_val, .*, sbd:DIR:SPLIT"):
        get_dataset("kitchen")
    with pytest.raises(DataError, match="VOCdevkitSDS: no such file or folder"):
        get_dataset("voc_2012_seg_train", tmp_path)
    with pytest.raises(DataError, match="write it as sbd:DIR:SPLIT"):
        get_dataset("sbd:train")
    name = f"sbd:{folder}:train"
    both = get_dataset(f"{name}+{name}")
    assert both.names == ["a", "b", "a", "b"] and both.name == f"{name}+{name}"
    assert both.image_path(3).endswith("b.jpg") and both.annotation(2).labels.tolist() == [3, 1]


def test_voc_folder(folder):
    (folder / "VOCdevkitSDS").mkdir()
    (folder / "VOCdevkitSDS" / "val.txt").write_text("a\n")
    dataset = get_dataset("voc_2012_seg_val", folder)
    assert dataset.classes == VOC_CLASSES and len(dataset.classes) == 21
    assert dataset.name == "voc_2012_seg_val"


def test_real_samples(real_material):
    dataset = get_dataset(f"sbd:{real_material / 'data' / 'sbd'}:val")
    assert problems(dataset) == {}
    labels = {name: dataset.annotation(i).labels.tolist() for i, name in enumerate(dataset.names)}
    assert labels == {"2008_000051": [5, 5, 9, 15, 15], "2008_000195": [4, 4, 15, 15, 15]}


def test_written_samples_have_the_structure_of_real_ones(real_material, folder):
    def layout(path, variable):
        struct = scipy.io.loadmat(path)[variable]
        fields = [(key, struct[key][0, 0]) for key in struct.dtype.names]
        return [(key, value.dtype, value.ndim, type(value[0, 0])) for key, value in fields]

    for part, variable in (("inst", "GTinst"), ("cls", "GTcls")):
        real = layout(real_material / "data" / "sbd" / part / "2008_000051.mat", variable)
        assert layout(folder / part / "a.mat", variable) == real


def test_boundaries_of_a_written_sample(folder):
    cell = scipy.io.loadmat(folder / "inst" / "a.mat")["GTinst"]["Boundaries"][0, 0]
    second = cell[1, 0].toarray()
    assert second.sum() == 15 - 3 and not second[4, 6:9].any()
    assert cv2.countNonZero(second) == 12
